package judge_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/verifiers"
)

// wantCaller demands that the caller is told what the words say.
func wantCaller(t *testing.T, err error, class attestd.Class, words string) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != class || !strings.Contains(caller.Error(), words) {
		t.Errorf("got %v, want %s about %q", err, class, words)
	}
}

func TestRootsThatAreNoVendorsMakeNoJudge(t *testing.T) {
	if _, err := judge.New(judge.Config{InsecureRoots: []*x509.Certificate{{}}}); err == nil {
		t.Error("a root without a key was taken")
	}
}

func TestWhatIsOfNoFormatIsSaidToBeSo(t *testing.T) {
	judging, request := enclave(t)
	request.Format, request.Evidence = "", []byte("nothing that anybody knows")
	_, err := judging.Judge(request)
	wantCaller(t, err, attestd.ClassUnsupported, "envelope")
	_, err = judging.Inspect("", request.Evidence)
	wantCaller(t, err, attestd.ClassUnsupported, "envelope")
	_, err = judging.Inspect("bogus", request.Evidence)
	wantCaller(t, err, attestd.ClassUnsupported, "bogus")
}

// TestNothingAndTooMuchAreRefusedBeforeAnybodyLooks names the format, so that nothing but the size
// is in the way, and then leaves it out.
func TestNothingAndTooMuchAreRefusedBeforeAnybodyLooks(t *testing.T) {
	judging, request := enclave(t)
	for _, row := range []struct {
		evidence []byte
		class    attestd.Class
		words    string
	}{
		{nil, attestd.ClassMalformed, "empty"},
		{make([]byte, judge.MaxEvidence+1), attestd.ClassTooLarge, "at most"},
	} {
		_, err := judging.Inspect(attestd.FormatNitro, row.evidence)
		wantCaller(t, err, row.class, row.words)
		_, err = judging.Detect(row.evidence)
		wantCaller(t, err, row.class, row.words)
		request.Format, request.Evidence = attestd.FormatNitro, row.evidence
		_, err = judging.Judge(request)
		wantCaller(t, err, row.class, row.words)
	}
}

// detecting panics as soon as it is shown evidence.
type detecting struct{ broken }

func (*detecting) Detect([]byte) bool { panic("detect") }

func TestAVerifierThatPanicsWhileItLooksIsAFault(t *testing.T) {
	judging := judge.NewWith([]verifiers.Verifier{&detecting{broken{format: attestd.FormatNitro}}})
	_, err := judging.Detect([]byte{1})
	var bug *judge.Bug
	if !errors.As(err, &bug) || bug.Format != attestd.FormatNitro {
		t.Errorf("got %v, want a fault of the verifier", err)
	}
}
