package keymanager_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/plugins/spire/keysocket"
)

func (k *agentKey) try(ctx context.Context) error {
	_, err := k.n.SignData(ctx, &keymanagerv1.SignDataRequest{
		KeyId: k.id, Data: make([]byte, 32), SignerOpts: &keymanagerv1.SignDataRequest_HashAlgorithm{
			HashAlgorithm: keymanagerv1.HashAlgorithm_SHA256,
		},
	})
	return err
}

// TestMemoryOfAFloodOfSignatures: each refused JWT-SVID costs the agent a connection, and that one
// signature. A storm of them waits, and then is refused; it does not reach the TPM.
func TestMemoryOfAFloodOfSignatures(t *testing.T) {
	t.Parallel()
	const rate, floods = 20, 300
	n := newNode(t, "memory", fmt.Sprintf("signatures_per_second = %d", rate))
	a := n.generate(slotA, p256)
	var group sync.WaitGroup
	var signed, busy atomic.Int32
	began := time.Now()
	for range floods {
		group.Go(func() {
			switch err := a.try(t.Context()); status.Code(err) {
			case codes.OK:
				signed.Add(1)
			case codes.ResourceExhausted:
				busy.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	most := int32(2*rate + took.Seconds()*rate + 1)
	if signed.Load() > most || signed.Load() < 2*rate || busy.Load() == 0 ||
		signed.Load()+busy.Load() != floods {
		t.Errorf("%d signed (want at most %d) and %d refused in %s", signed.Load(), most, busy.Load(), took)
	}
	if took > 4*time.Second {
		t.Errorf("waiting took %s", took)
	}
	counts := n.counts.All()
	if fmt.Sprint(counts["signatures"]) != fmt.Sprint(signed.Load()) ||
		fmt.Sprint(counts["signatures_refused"]) != fmt.Sprint(busy.Load()) ||
		counts["signatures_delayed"] == 0 {
		t.Errorf("counted %v", counts)
	}
	// Who goes away while it waits does not keep its place.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.try(ctx); status.Code(err) != codes.Canceled {
		t.Errorf("who went away: %v", err)
	}
}

// The node's other plugins have a share of their own: one that goes wild does not stop the agent.
func TestAFloodOverTheSocketDoesNotStopTheAgent(t *testing.T) {
	n := newNode(t, "tpm", "signatures_per_second = 50")
	a := n.generate(slotA, p256)
	client := n.socket()
	signer, err := client.SignerOf(a.spki)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var busy atomic.Int32
	for range 40 {
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := signer.Sign(nil, make([]byte, 32), keysHash); errors.Is(err, keysocket.ErrBusy) {
					busy.Add(1)
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	var slowest time.Duration
	for range 20 {
		began := time.Now()
		if err := a.try(t.Context()); err != nil {
			t.Error(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	cancel()
	group.Wait()
	t.Logf("the agent's slowest signature under the flood took %s; %d of the flood were refused",
		slowest, busy.Load())
	if slowest > 3*time.Second {
		t.Errorf("the agent waited %s", slowest)
	}
	if busy.Load() == 0 {
		t.Error("the flood met no limit")
	}
}

// TestTheAgentWaitsForOneSignatureOfTheSocketAtMost: the TPM does one thing at a time, and on a
// chip each signature takes a tenth of a second.
func TestTheAgentWaitsForOneSignatureOfTheSocketAtMost(t *testing.T) {
	const crowd = 12
	n := newNode(t, "tpm", "")
	n.Unlimit()
	a := n.generate(slotA, p256)
	signer, err := n.socket().SignerOf(a.spki)
	if err != nil {
		t.Fatal(err)
	}
	// Another program holds the TPM, so that everybody comes to stand in line.
	held, err := os.OpenFile(n.chip.Socket()+".lock", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var done atomic.Int32
	for range crowd {
		group.Go(func() {
			if _, err := signer.Sign(nil, make([]byte, 32), keysHash); err != nil {
				t.Error(err)
			}
			done.Add(1)
		})
	}
	time.Sleep(200 * time.Millisecond)
	group.Go(func() {
		if err := a.try(t.Context()); err != nil {
			t.Error(err)
		}
		if before := done.Load(); before > crowd/3 {
			t.Errorf("%d of the socket's %d signatures came before the agent's", before, crowd)
		}
	})
	time.Sleep(100 * time.Millisecond)
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	group.Wait()
}

// TestMemoryKeysAreMadeAskedForAndUsedAtOnce: the newest key is always one that signs, whatever is
// made meanwhile, and a signature is by the key that was asked for. neg: 200
func TestMemoryKeysAreMadeAskedForAndUsedAtOnce(t *testing.T) {
	n := newNode(t, "memory", "signatures_per_second = 1000")
	n.generate(slotA, p256)
	client := n.socket()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	last := uint64(0)
	group.Go(func() {
		for i := range 100 {
			id := []string{slotB, slotA}[i%2]
			_, err := n.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: id, KeyType: p256})
			if err != nil {
				t.Error(err)
			}
		}
		cancel()
	})
	for _, rate := range []int{900, 1000} { // and configured anew while all that goes on
		group.Go(func() {
			for ctx.Err() == nil {
				if err := n.configure(fmt.Sprintf(
					"keys = \"memory\"\nruntime_dir = %q\nsignatures_per_second = %d", n.runtime, rate,
				)); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	group.Go(func() {
		for ctx.Err() == nil {
			newest, err := client.Newest(t.Context())
			if err != nil {
				t.Error(err)
				continue
			}
			if newest.Generation < last {
				t.Errorf("the newest was %d and is %d", last, newest.Generation)
			}
			last = newest.Generation
			signer, err := client.SignerOf(newest.SPKI)
			if err != nil {
				t.Error(err)
				continue
			}
			// It may be replaced before it signs, and is never mistaken for another.
			_, err = signer.Sign(nil, make([]byte, 32), keysHash)
			if err != nil && !errors.Is(err, keysocket.ErrNoKey) {
				t.Error(err)
			}
		}
	})
	group.Wait()
	if newest := n.newest(); newest.Generation != 101 {
		t.Errorf("the newest is %d", newest.Generation)
	}
}

// BenchmarkSignatures prints what a key gives: one after the other, through the key socket, and by
// several at once.
func BenchmarkSignatures(b *testing.B) {
	for _, kind := range kinds {
		n := newNode(b, kind, "")
		n.Unlimit()
		a := n.generate(slotA, p256)
		signer, err := n.socket().SignerOf(a.spki)
		if err != nil {
			b.Fatal(err)
		}
		for name, sign := range map[string]func() error{
			"agent": func() error { return a.try(b.Context()) },
			"socket": func() error {
				_, err := signer.Sign(nil, make([]byte, 32), keysHash)
				return err
			},
		} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					began := time.Now()
					if err := sign(); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "signatures/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			})
		}
		b.Run(kind+"/key", func(b *testing.B) {
			for b.Loop() {
				if _, err := n.GenerateKey(b.Context(), &keymanagerv1.GenerateKeyRequest{
					KeyId: slotB, KeyType: p256,
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestTheFirstSignatureIsNotWaitedFor(t *testing.T) {
	n := newNode(t, "memory", "signatures_per_second = 1")
	a := n.generate(slotA, p256)
	began := time.Now()
	for range 2 { // as an attestation takes
		if err := a.certificate(x509.ECDSAWithSHA256); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("took %s", took)
	}
	if !bytes.Equal(n.newest().SPKI, a.spki) {
		t.Error("another key is the newest")
	}
}
