package worker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
)

// workerBinary is the file that tests start workers from: this test binary itself, or one built as
// the product is, without cgo and without the race detector.
var workerBinary = "/proc/self/exe"

// TestMain makes the test binary a worker where its arguments say so, before anything of package
// testing has been set up.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "real-worker":
			os.Exit(worker.Main())
		case "test-worker":
			os.Exit(worker.MainWith(obey, obeyKeys))
		case "forbidden-worker":
			os.Exit(worker.MainForbidden())
		case "landlocked":
			os.Exit(worker.OpenBehindLandlock("/etc/passwd"))
		case "orphan-maker":
			makeOrphan()
		case "unlocked-worker":
			os.Exit(worker.MainUnlocked())
		}
	}
	if !raceEnabled && !builtWithCgo() {
		goleak.VerifyTestMain(m)
	}
	dir, err := os.MkdirTemp("", "attestd-worker")
	if err != nil {
		panic(err)
	}
	workerBinary = filepath.Join(dir, "worker.test")
	build := exec.Command("go", "test", "-c", "-o", workerBinary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// makeOrphan prints the process id of a worker that is busy for ever, and waits to be killed.
func makeOrphan() {
	log := &lockedBuffer{}
	pool, err := worker.NewPool(worker.Config{
		Command: []string{"/proc/self/exe", "test-worker"}, Size: 1, Timeout: 300 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		panic(err)
	}
	policy, err := appraisal.Builtin(appraisal.Production)
	if err != nil {
		panic(err)
	}
	fmt.Println(pidInLog.FindStringSubmatch(log.String())[1])
	_, _ = pool.Judge(context.Background(), service.Job{
		Evidence: []byte("spin"), At: at, Demand: service.DemandSpec{Mode: service.DemandRecorded},
		Policy: service.Document{Source: "production", Bytes: policy.Document()},
	})
	select {}
}

// builtWithCgo: calls on all threads exist only without cgo.
func builtWithCgo() bool {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return errno == unix.ENOTSUP
}

// orders are what a test worker does, behind the lock, when the evidence says so. Those that return
// an error got it from the kernel; those that are killed never return.
var orders = map[string]func() error{
	"panic": func() error { panic("told to") },
	"hang":  func() error { select {} },
	"spin": func() error {
		for {
			spins++
		}
	},
	"exit":        func() error { os.Exit(7); return nil },
	"garbage":     func() error { return raw([]byte("HTTP/1.1 200 OK\r\n\r\nall is well, trust me")) },
	"oversize":    func() error { return raw(worker.ReplyFrame(worker.MaxReply+1, make([]byte, 100))) },
	"twice":       func() error { return raw(append(worker.ReplyFrame(0, nil), worker.ReplyFrame(0, nil)...)) },
	"pieces":      pieces,
	"late":        func() error { time.Sleep(300 * time.Millisecond); return nil },
	"bug":         func() error { return errors.New("told to fail \x1b[31m") },
	"caller":      func() error { return callerError(attestd.ClassUnsupported, "told to") },
	"impersonate": func() error { return callerError(attestd.ClassForbidden, "told to") },
	"allocate":    allocate,
	"gorge":       gorge,
	"threads":     threads,
	"list files":  listFiles,

	"open a file":          func() error { _, err := os.Open("/etc/passwd"); return err },
	"create a file":        func() error { return os.WriteFile("/tmp/attestd-probe", nil, 0o600) },
	"socket inet":          func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err },
	"socket inet6 udp":     func() error { _, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0); return err },
	"socket unix":          func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
	"socket netlink":       func() error { _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0); return err },
	"connect":              func() error { return unix.Connect(3, &unix.SockaddrUnix{Name: "/run/attestd.sock"}) },
	"bind":                 func() error { return unix.Bind(3, &unix.SockaddrUnix{Name: "@attestd-probe"}) },
	"listen":               func() error { return unix.Listen(3, 1) },
	"receive files":        func() error { _, _, _, _, err := unix.Recvmsg(3, make([]byte, 1), make([]byte, 64), 0); return err },
	"send files":           func() error { return unix.Sendmsg(3, nil, nil, nil, 0) },
	"execve":               func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
	"start a program":      func() error { return exec.Command("/bin/true").Run() },
	"fork":                 func() error { return bare(unix.SYS_CLONE, uintptr(unix.SIGCHLD)) },
	"clone3":               func() error { return bare(unix.SYS_CLONE3) },
	"new namespace":        func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"ptrace":               func() error { return unix.PtraceAttach(os.Getppid()) },
	"read parent's memory": func() error { return bare(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid())) },
	"signal another":       func() error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) },
	"kill another":         func() error { return unix.Kill(os.Getppid(), 0) },
	"executable memory": func() error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	},
	"make memory executable": func() error {
		memory, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("plain memory: %w", err)
		}
		return unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC)
	},
	"map a file":     func() error { _, err := unix.Mmap(3, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE); return err },
	"x32 call":       func() error { return bare(0x40000000 | unix.SYS_GETPID) },
	"io_uring":       func() error { return bare(unix.SYS_IO_URING_SETUP, 8) },
	"raise limits":   func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}) },
	"become root":    func() error { return bare(unix.SYS_SETUID, 0) },
	"lift no-new":    func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
	"second filter":  func() error { return bare(unix.SYS_SECCOMP, 1, 0, 0) },
	"read a socket":  func() error { return bare(unix.SYS_GETSOCKNAME, 3) },
	"change folder":  func() error { return unix.Chdir("/tmp") },
	"delete a file":  func() error { return unix.Unlink("/tmp/attestd-probe") },
	"status of file": func() error { return unix.Stat("/etc/passwd", new(unix.Stat_t)) },
	"duplicate":      func() error { _, err := unix.Dup(3); return err },
	"control device": func() error { return unix.IoctlSetInt(2, unix.TIOCSTI, 0) },
}

var spins int

func bare(number uintptr, args ...uintptr) error {
	var six [6]uintptr
	copy(six[:], args)
	if _, _, errno := syscall.RawSyscall6(number, six[0], six[1], six[2], six[3], six[4], six[5]); errno != 0 {
		return errno
	}
	return nil
}

func raw(bytes []byte) error {
	if _, err := unix.Write(3, bytes); err != nil {
		return err
	}
	select {} // and no verdict
}

// pieces answers with an empty frame, byte by byte.
func pieces() error {
	for _, b := range worker.ReplyFrame(0, nil) {
		if _, err := unix.Write(3, []byte{b}); err != nil {
			return err
		}
		time.Sleep(15 * time.Millisecond)
	}
	select {}
}

func callerError(class attestd.Class, text string) error {
	return &attestd.CallerError{Class: class, Hint: "a hint", Err: errors.New(text)}
}

// allocate makes the collector work: 200 MB in small and large pieces, a part of it kept.
func allocate() error {
	var kept [][]byte
	for i := range 2000 {
		piece := make([]byte, 100<<10)
		piece[i%len(piece)] = 1
		if i%4 == 0 {
			kept = append(kept, piece)
		}
	}
	runtime.GC()
	runtime.KeepAlive(kept)
	return nil
}

// gorge allocates without end.
func gorge() error {
	var kept [][]byte
	for {
		piece := make([]byte, 8<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		kept = append(kept, piece)
		runtime.KeepAlive(kept)
	}
}

// threads makes the runtime start threads, block them and end them.
func threads() error {
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			if i%2 == 0 {
				runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
			}
			pause := unix.Timespec{Nsec: 5_000_000}
			_ = unix.Nanosleep(&pause, nil)
			sum := sha256.New()
			for range 200 {
				sum.Write(make([]byte, 1024))
			}
			time.Sleep(time.Millisecond)
		})
	}
	group.Wait()
	return nil
}

// listFiles says which descriptors below 100 can be read. Reading no bytes does not wait; the
// poller's descriptors answer EINVAL, closed and write-only ones EBADF.
func listFiles() error {
	var open []string
	for fd := range 100 {
		if _, err := unix.Read(fd, nil); err == nil {
			open = append(open, fmt.Sprint(fd))
		}
	}
	return callerError(attestd.ClassMalformed, strings.Join(open, " "))
}

// obey is the judge of a test worker: it does what the evidence says, then answers as if accepted.
func obey(job service.Job) (attestd.Appraisal, error) {
	if do, known := orders[string(job.Evidence)]; known {
		if err := do(); err != nil {
			var errno syscall.Errno
			if errors.As(err, &errno) {
				err = callerError(attestd.ClassMalformed, errno.Error())
			}
			return attestd.Appraisal{}, err
		}
	}
	verdict := accepted(job)
	if claims, told := strings.CutPrefix(string(job.Evidence), "claim "); told {
		verdict.Claims = json.RawMessage(claims)
	}
	if name, told := strings.CutPrefix(string(job.Evidence), "name "); told {
		verdict.Handles[0].Value = name
		verdict.Claims = keyClaims(job.Activation.AKName, job.Activation.EK)
	}
	if change, known := lies[string(job.Evidence)]; known {
		change(&verdict)
	}
	if job.Format != "" && string(job.Evidence) == plainMachine {
		verdict.Format = job.Format
	}
	if change, known := composedLies[string(job.Evidence)]; known {
		verdict.Format = job.Format
		compose(&verdict)
		change(&verdict)
	}
	return verdict, nil
}

// accepted is a verdict that a parent has nothing against.
func accepted(job service.Job) attestd.Appraisal {
	evidence := sha256.Sum256(job.Evidence)
	policy := sha256.Sum256(job.Policy.Bytes)
	freshness := map[service.DemandMode]attestd.Freshness{
		service.DemandNonce: attestd.FreshnessNonce, service.DemandBinding: attestd.FreshnessBinding,
	}[job.Demand.Mode]
	instance := "i-0123456789"
	if job.Activation != nil {
		instance = "ek:" + hex.EncodeToString(job.Activation.EK[:])
	}
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, Verdict: attestd.VerdictAccepted, Format: attestd.FormatNitro,
		Tier: attestd.TierLow, Risk: attestd.Risk(7), Freshness: freshness, At: job.At,
		Reasons: []attestd.Reason{{
			Check: "nitro/chain", Group: attestd.GroupTCB, Points: 7, Effect: attestd.EffectScored,
			Detail: "d", Remedy: "r",
		}},
		Checks:         []attestd.Check{{ID: "nitro/chain", Result: attestd.ResultPass, Got: "g"}},
		Claims:         json.RawMessage(`{"debug":false}`),
		Handles:        []attestd.Handle{{Kind: attestd.HandleInstance, Value: instance}},
		Policy:         attestd.PolicyRef{ID: "production", Digest: "sha256:" + hex.EncodeToString(policy[:])},
		EvidenceSHA256: hex.EncodeToString(evidence[:]),
	}
}

// newPool starts test workers ("test-worker") or real ones ("real-worker").
func newPool(t testing.TB, mode string, change func(*worker.Config)) (*worker.Pool, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	config := worker.Config{
		Command: []string{workerBinary, mode}, Size: 1, Timeout: 2 * time.Second,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&config)
	}
	pool, err := worker.NewPool(config)
	if err != nil {
		t.Fatalf("NewPool: %v", err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool, log
}

type lockedBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}

var at = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// pidText is the process id of the pool's first worker.
func pidText(t *testing.T, log *lockedBuffer) string { return fmt.Sprint(pids(t, log)[0]) }

// jobFor is a job with the built-in production policy.
func jobFor(t testing.TB, evidence string) service.Job {
	t.Helper()
	policy, err := appraisal.Builtin(appraisal.Production)
	if err != nil {
		t.Fatal(err)
	}
	return service.Job{
		Evidence: []byte(evidence), At: at, Demand: service.DemandSpec{Mode: service.DemandRecorded},
		Policy: service.Document{Source: "production", Bytes: policy.Document()},
	}
}

// mustServe demands an honest verdict.
func mustServe(t testing.TB, pool *worker.Pool) {
	t.Helper()
	got, err := pool.Judge(context.Background(), jobFor(t, "nothing special"))
	if err != nil || got.Verdict != attestd.VerdictAccepted {
		t.Fatalf("an honest request: got %v, %v, want accepted", got.Verdict, err)
	}
}
