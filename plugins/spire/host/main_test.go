package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/plugins/spire/host"
)

// The test binary is the plugin too: under a supervisor it is started with the name of one.
const (
	probeName  = "probe"
	brokenName = "probe-that-cannot-be-made"
	needyName  = "probe-that-needs-host-services"
	parentName = "parent-that-leaves"
)

func TestMain(m *testing.M) {
	if pid := os.Getenv(peekVariable); pid != "" {
		fmt.Print(peek(pid))
		return
	}
	if path := os.Getenv(knockVariable); path != "" {
		fmt.Print(knock(path))
		return
	}
	if len(os.Args) == 2 {
		switch name := os.Args[1]; name {
		case probeName, needyName:
			os.Exit(host.Main(name, newProbe))
		case brokenName:
			os.Exit(host.Main(name, func(host.Env) (host.Plugin, error) {
				return host.Plugin{}, errors.New("no such luck")
			}))
		case parentName:
			os.Exit(leaveChildBehind())
		}
	}
	os.Exit(m.Run())
}

// probe is a plugin whose answers show what happens around it: a question is its SPIFFE ID.
type probe struct {
	composerv1.UnimplementedCredentialComposerServer
	*host.Configured[probeDocument]
	env host.Env
}

type probeDocument struct {
	Word        string `hcl:"word,required"`
	TrustDomain string `hcl:"trust_domain"`
}

func (d *probeDocument) Check() []string {
	if d.Word == "forbidden" {
		return []string{"word: is forbidden"}
	}
	return nil
}

type needyProbe struct{ *probe }

func (needyProbe) BrokerHostServices(pluginsdk.ServiceBroker) error { return nil }

func newProbe(env host.Env) (host.Plugin, error) {
	one := &probe{env: env, Configured: host.NewConfigured(env, func() probeDocument { return probeDocument{} },
		func(_ context.Context, document *probeDocument, _ host.Core) (func(), error) {
			if document.Word == "dies" && env.Starts == 1 {
				go func() { time.Sleep(50 * time.Millisecond); os.Exit(9) }()
			}
			return nil, nil
		})}
	var server composerv1.CredentialComposerServer = one
	if env.Name == needyName {
		server = needyProbe{one}
	}
	return host.Plugin{
		Name: env.Name, Server: composerv1.CredentialComposerPluginServer(server),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(one)},
	}, nil
}

// ComposeWorkloadX509SVID answers with what was asked, as the DNS name of a certificate.
func (p *probe) ComposeWorkloadX509SVID(ctx context.Context, request *composerv1.ComposeWorkloadX509SVIDRequest) (
	*composerv1.ComposeWorkloadX509SVIDResponse, error) {
	document, release, err := p.Acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	answer := ""
	switch question, argument, _ := strings.Cut(request.GetSpiffeId(), "="); question {
	case "pid":
		answer = strconv.Itoa(os.Getpid())
	case "starts":
		answer = strconv.Itoa(p.env.Starts)
	case "word":
		answer = document.Word
	case "panic":
		panic("at the disco")
	case "panic elsewhere":
		go panic("in a goroutine that nothing recovers")
		<-ctx.Done()
	case "keep":
		if _, err := p.env.Keep.WriteAt([]byte(argument), 0); err != nil {
			return nil, err
		}
	case "kept":
		kept := make([]byte, 64)
		n, err := p.env.Keep.ReadAt(kept, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		answer = string(kept[:n])
	case "deadline":
		at, ok := ctx.Deadline()
		answer = strconv.FormatBool(ok && time.Until(at) <= host.UnaryTime)
	case "print":
		_, _ = os.Stdout.WriteString("1|1|tcp|127.0.0.1:1|grpc|\n")
	default:
		return nil, status.Error(codes.NotFound, "no such question")
	}
	return &composerv1.ComposeWorkloadX509SVIDResponse{
		Attributes: &composerv1.X509SVIDAttributes{DnsSans: []string{answer}},
	}, nil
}
