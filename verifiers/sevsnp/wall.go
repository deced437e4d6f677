package sevsnp

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
)

// This file is the wall around google/go-sev-guest: the only thing taken from it are the bytes of
// AMD's certificates that it embeds. They are exported variables that anyone in the process could
// change, so they are copied and compared with the digests below before they are believed.

// pinnedChain are AMD's certificates of one line for one kind of keys, and where they were published.
type pinnedChain struct {
	line     line
	kind     keyKind
	bundle   func() []byte
	ask, ark string // SHA-256 of the DER, in hex
}

// pinnedChains are what https://kdsintf.amd.com/{vcek,vlek}/v1/{Milan,Genoa,Turin}/cert_chain serves.
// Both chains of a line lead to one ARK.
var pinnedChains = []pinnedChain{
	{
		line:   lineMilan,
		bundle: func() []byte { return trust.AskArkMilanVcekBytes },
		ask:    "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
		ark:    arkMilan,
	},
	{
		line:   lineGenoa,
		bundle: func() []byte { return trust.AskArkGenoaVcekBytes },
		ask:    "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
		ark:    arkGenoa,
	},
	{
		line:   lineTurin,
		bundle: func() []byte { return trust.AskArkTurinVcekBytes },
		ask:    "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
		ark:    arkTurin,
	},
	{
		line: lineMilan, kind: kindVLEK,
		bundle: func() []byte { return trust.AskArkMilanVlekBytes },
		ask:    "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
		ark:    arkMilan,
	},
	{
		line: lineGenoa, kind: kindVLEK,
		bundle: func() []byte { return trust.AskArkGenoaVlekBytes },
		ask:    "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
		ark:    arkGenoa,
	},
	{
		line: lineTurin, kind: kindVLEK,
		bundle: func() []byte { return trust.AskArkTurinVlekBytes },
		ask:    "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
		ark:    arkTurin,
	},
}

// SHA-256 of AMD's roots.
const (
	arkMilan = "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"
	arkGenoa = "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"
	arkTurin = "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"
)

// maxBundle is far above the 4,602 bytes of a published bundle.
const maxBundle = 16 << 10

// open returns copies of the ASK or ASVK and the ARK in DER.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func (p pinnedChain) open() (ask, ark []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			ask, ark, err = nil, nil, notPinned(p.line, fmt.Errorf("panic: %v", cause))
		}
	}()
	bundle := p.bundle()
	if len(bundle) == 0 || len(bundle) > maxBundle {
		return nil, nil, notPinned(p.line, fmt.Errorf("bundle of %d bytes", len(bundle)))
	}
	rest := bytes.Clone(bundle)
	var found [2][]byte
	for i, want := range []string{p.ask, p.ark} {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, nil, notPinned(p.line, fmt.Errorf("bundle holds %d certificates, want 2", i))
		}
		digest := sha256.Sum256(block.Bytes)
		if got := hex.EncodeToString(digest[:]); got != want {
			return nil, nil, notPinned(p.line, fmt.Errorf("certificate %d is %s, want %s", i, got, want))
		}
		found[i] = block.Bytes
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, nil, notPinned(p.line, fmt.Errorf("%d bytes behind the certificates", len(rest)))
	}
	return found[0], found[1], nil
}

// certificates are those of open, parsed.
func (p pinnedChain) certificates() (ask, ark *x509.Certificate, err error) {
	askDER, arkDER, err := p.open()
	if err != nil {
		return nil, nil, err
	}
	ask, noASK := x509.ParseCertificate(askDER)
	ark, noARK := x509.ParseCertificate(arkDER)
	if err := cmp.Or(noASK, noARK); err != nil {
		return nil, nil, notPinned(p.line, fmt.Errorf("parse: %w", err))
	}
	return ask, ark, nil
}

func notPinned(name line, err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint:  "this build of attestd is damaged; install it again and compare its checksum",
		Err:   fmt.Errorf("AMD's root for %s is not the pinned one: %w", name, err),
	}
}
