package worker

import (
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// hooked is a judge that a test wrote.
type hooked struct {
	judge func(service.Job) (attestd.Appraisal, error)
	make  func(service.CredentialJob) (service.CredentialReply, error)
}

func (h hooked) answer(q question) (attestd.Appraisal, error) { return h.judge(q.job) }

func (h hooked) credential(job service.CredentialJob) (service.CredentialReply, error) {
	return h.make(job)
}

// MainWith is Main with another judge: the tests' hook into a locked process.
func MainWith(
	judge func(service.Job) (attestd.Appraisal, error),
	make func(service.CredentialJob) (service.CredentialReply, error),
) int {
	return run(func(setup) (answerer, error) { return hooked{judge, make}, nil })
}

// MainUnlocked is a worker that says it is ready without a lock.
func MainUnlocked() int {
	stream := os.NewFile(streamFD, "stream")
	if _, _, err := readFrame(stream, maxRequest); err != nil {
		return exitUnfit
	}
	w := &child{writer: stream}
	_ = w.send(kindReady, Lock{}.append(newFrame(0)))
	_, _ = io.Copy(io.Discard, stream)
	return exitDone
}

// MainForbidden is Main under a service manager that forbids the system call seccomp.
func MainForbidden() int {
	program := append([]unix.SockFilter{load(offsetNumber)},
		skipIf(unix.BPF_JEQ, unix.SYS_SECCOMP, 0, 1),
		answer(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)), answer(unix.SECCOMP_RET_ALLOW))
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return exitUnfit
	}
	if err := install(program); err != nil {
		return exitUnfit
	}
	return Main()
}

// OpenBehindLandlock puts up Landlock alone and tries to open a file on several threads. It returns
// 0 where each was refused, 1 where one was not, 2 where the kernel has no Landlock.
func OpenBehindLandlock(path string) int {
	abi, err := landlockAll()
	if err != nil || abi == 0 {
		return 2
	}
	opened := make(chan bool)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			_, err := os.Open(path)
			opened <- !errors.Is(err, unix.EACCES)
		}()
	}
	code := 0
	for range 8 {
		if <-opened {
			code = 1
		}
	}
	return code
}

// Filter, as data for tests and the documentation's table.
func FilterProgram(pid uint32) []unix.SockFilter { return filterProgram(pid) }
func (s Syscall) Number() uint32                 { return s.number }
func (s Syscall) Conditional() bool              { return s.block != nil }

// The architecture of the filter, and the flags of a thread.
const (
	AuditArch   = auditArch
	CloneThread = cloneThread
)

func Allowed() []Syscall { return allowed }
func Fatal() []Syscall   { return fatal }
func Missing() []Syscall { return missing }
func FatalHere() int     { return len(fatalHere) }

// EncodeVerdict and DecodeVerdict are the two ends of a verdict's journey.
func EncodeVerdict(a attestd.Appraisal) []byte                { return appendAppraisal(nil, a) }
func DecodeVerdict(payload []byte) (attestd.Appraisal, error) { return readAppraisal(payload) }
func EncodeJob(job service.Job) []byte                        { return question{job: job}.append(nil) }
func DecodeJob(payload []byte) (service.Job, error) {
	q, err := readQuestion(payload)
	return q.job, err
}

// The two ends of a credential's journey.
func EncodeCredential(made service.CredentialReply) []byte { return appendCredential(nil, made) }
func DecodeCredential(payload []byte) (service.CredentialReply, error) {
	return readCredential(payload)
}
func EncodeCredentialJob(job service.CredentialJob) []byte { return appendCredentialJob(nil, job) }
func DecodeCredentialJob(payload []byte) (service.CredentialJob, error) {
	return readCredentialJob(payload)
}

// ReplyFrame is a raw frame that says to be a verdict of that many bytes, with the bytes that follow.
func ReplyFrame(size uint32, payload []byte) []byte {
	frame := append(newFrame(0), payload...)
	frame[0] = byte(kindVerdict)
	frame[1], frame[2], frame[3], frame[4] = byte(size>>24), byte(size>>16), byte(size>>8), byte(size)
	return frame
}

// MaxReply is the cap of a reply.
const MaxReply = maxReply
