package tdx

import (
	"fmt"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/trail"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// collateralLimits bound what documents and lists can cost. Documents come from the verifier's own
// side, lists and certificates can come from anybody.
var collateralLimits = struct {
	documents  int // beside the evidence
	bytes      int // of all of them together
	ofOne      int // about one subject, each of which costs a signature
	signers    int // certificates called like the TCB signing key's
	lists      int // beside the evidence
	listBytes  int // of all of them together
	ofIssuer   int // lists of one issuer, each of which costs a signature
	signatures int // for all of these in one call
	cached     int
}{
	documents: 256, bytes: 16 << 20, ofOne: 4, signers: 4, lists: 64, listBytes: 16 << 20, ofIssuer: 4,
	signatures: 16, cached: 256,
}

// States of collateral (facts collateral and crl).
const (
	stateFresh   = "fresh"   // everything that is needed is there and covers the time
	stateStale   = "stale"   // everything is there; of something a newer one was due by then
	stateMissing = "missing" // something is not there
)

// collateralCache remembers documents, signers and lists that were verified before.
type collateralCache struct {
	documents *documentCache
	signers   *signerCache
	lists     *crl.Cache
}

func newCollateralCache() collateralCache {
	return collateralCache{
		documents: &documentCache{}, signers: &signerCache{},
		lists: crl.NewCache(collateralLimits.cached, collateralLimits.listBytes),
	}
}

// platform is what is held against Intel's documents and lists.
type platform struct {
	*enclave
	quote *quote
	input attestd.Input
	count *counter
	v     *Verifier
}

// tcbFacts are what signed documents and revocation lists say of the platform. The zero tcbFacts say
// nothing.
type tcbFacts struct {
	info     *pcs.TCBInfo
	identity *pcs.Identity
	levels   levels
	at       time.Time
	// collateral and crl are states.
	collateral string
	revocation revocation
	// running is TEE_TCB_SVN_2, where the quote has it; launched TEE_TCB_SVN.
	running  *[16]byte
	launched [16]byte
}

// judgeTCB judges the platform by the documents and lists that were given. It refuses what an authentic
// document or list rules out, however old that is: a later one takes no revocation back. Whether
// something is missing or stale is a fact, and a policy cannot wave it through (see the checks
// collateral and crl).
func (v *Verifier) judgeTCB(
	t *trail.Trail, q *quote, from *enclave, input attestd.Input,
) (tcbFacts, *fault) {
	p := &platform{
		enclave: from, quote: q, input: input, v: v,
		// In a laboratory each authority's may have to be tried.
		count: &counter{total: &v.signatures, left: len(v.roots) * collateralLimits.signatures},
	}
	out := tcbFacts{at: input.At, launched: q.teeTCBSVN()}
	if running, has := q.teeTCBSVN2(); has {
		out.running = &running
	}
	signers, bad := p.readDocuments(t, &out)
	if bad != nil {
		return tcbFacts{}, bad
	}
	if out.revocation, bad = p.judgeLists(t, signers); bad != nil {
		return tcbFacts{}, bad
	}
	if bad := p.judgeModule(t, &out); bad != nil {
		return tcbFacts{}, bad
	}
	if bad := p.judgeEnclaveIdentity(t, &out); bad != nil {
		return tcbFacts{}, bad
	}
	if bad := p.judgeLevels(t, &out); bad != nil {
		return tcbFacts{}, bad
	}
	return out, nil
}

// Texts of checks that need a document which is not there.
const (
	withoutInfo     = "no TCB information for this platform was given; the policy judges that as collateral"
	withoutIdentity = "no identity of the quoting enclave was given; the policy judges that as collateral"
)

// judgeModule demands that the TDX module at launch, and the one that runs now, are ones that TCB
// information knows, signed by whom it says and with the attributes that it says (PCS API version 4, TCB
// Info V3: tdxModule for major version 0, tdxModuleIdentities for the others).
func (p *platform) judgeModule(t *trail.Trail, out *tcbFacts) *fault {
	const want = "a module that TCB information knows"
	if out.info == nil {
		t.NotApplicable(checkModuleIdentity, withoutInfo)
		return nil
	}
	if bad := p.checkModuleOf(out, out.launched); bad != nil {
		return bad
	}
	if out.runsAnother() {
		if bad := p.checkModuleOf(out, *out.running); bad != nil {
			bad.got += " that runs now"
			return bad
		}
	}
	t.Pass(checkModuleIdentity, want, want)
	return nil
}

// runsAnother reports whether module or loader are others now than when they launched the TD.
func (f *tcbFacts) runsAnother() bool { return f.running != nil && *f.running != f.launched }

func (p *platform) checkModuleOf(out *tcbFacts, svn [16]byte) *fault {
	signer, found := out.info.Module, true
	if svn[1] != 0 {
		var module *pcs.ModuleIdentity
		if module, found = moduleOf(out.info, svn[1]); found {
			signer = module.ModuleSigner
		}
	}
	if !found {
		return refuse(checkModuleIdentity, fmt.Sprintf("a TDX module of major version %d", svn[1]),
			"one of "+moduleNames(out.info))
	}
	if seen := p.quote.mrSignerSEAM(); seen != signer.MRSigner {
		return refuse(checkModuleIdentity, fmt.Sprintf("MRSIGNERSEAM %x..", seen[:8]),
			fmt.Sprintf("%x.., as TCB information says", signer.MRSigner[:8]))
	}
	seen := p.quote.seamAttributes()
	for i := range seen {
		// Production modules have no attribute at all, whatever a mask leaves out of the comparison.
		if seen[i]&signer.Mask[i] != signer.Attributes[i]&signer.Mask[i] {
			return refuse(checkModuleIdentity, fmt.Sprintf("SEAMATTRIBUTES %x", seen),
				fmt.Sprintf("%x under the mask %x", signer.Attributes, signer.Mask))
		}
	}
	return nil
}

// judgeEnclaveIdentity demands that the quoting enclave is the one that Intel names: whoever has a
// platform can load an enclave of his own, and the PCK would sign its report too.
func (p *platform) judgeEnclaveIdentity(t *trail.Trail, out *tcbFacts) *fault {
	const want = "Intel's quoting enclave for TDs"
	identity := out.identity
	if identity == nil {
		t.NotApplicable(checkQEIdentity, withoutIdentity)
		return nil
	}
	q := p.quote
	misc, attributes := q.qeMiscSelect(), q.qeAttributes()
	for i := range misc {
		if misc[i]&identity.MiscSelectMask[i] != identity.MiscSelect[i]&identity.MiscSelectMask[i] {
			return refuse(checkQEIdentity, fmt.Sprintf("MISCSELECT %x", misc), fmt.Sprintf(
				"%x under the mask %x", identity.MiscSelect, identity.MiscSelectMask))
		}
	}
	for i := range attributes {
		mask := identity.AttributesMask[i]
		if attributes[i]&mask != identity.Attributes[i]&mask {
			return refuse(checkQEIdentity, fmt.Sprintf("ATTRIBUTES %x", attributes), fmt.Sprintf(
				"%x under the mask %x", identity.Attributes, identity.AttributesMask))
		}
	}
	if signer := q.qeSigner(); signer != identity.MRSigner {
		return refuse(checkQEIdentity, fmt.Sprintf("MRSIGNER %x..", signer[:8]),
			fmt.Sprintf("%x..", identity.MRSigner[:8]))
	}
	if q.qeProdID() != identity.ISVProdID {
		return refuse(checkQEIdentity, "ISVPRODID "+strconv.Itoa(int(q.qeProdID())),
			strconv.Itoa(int(identity.ISVProdID)))
	}
	level, found := svnLevel(identity.Levels, q.qeSVN())
	if !found {
		return refuse(checkQEIdentity, "ISVSVN "+strconv.Itoa(int(q.qeSVN())), fmt.Sprintf(
			"%d or more, as every level wants", identity.Levels[len(identity.Levels)-1].ISVSVN))
	}
	out.levels.enclave = &level
	t.Pass(checkQEIdentity, want, want)
	return nil
}

// judgeLevels finds the levels of platform and module, at launch and now, and refuses where there is none or one of the
// levels is revoked. No policy has a say: an unknown TCB is no good one, and Revoked is Intel's last
// word.
func (p *platform) judgeLevels(t *trail.Trail, out *tcbFacts) *fault {
	const want, wantNone = "a level for each part", "none of the levels revoked"
	if out.info == nil {
		t.NotApplicable(checkLevel, withoutInfo)
	} else {
		if bad := out.levels.find(out.info, p.pck, out.launched); bad != nil {
			return bad
		}
		// What runs now keeps the host out: no launch under a good one makes up for a bad one.
		if out.runsAnother() {
			out.levels.running = &levels{}
			if bad := out.levels.running.find(out.info, p.pck, *out.running); bad != nil {
				bad.got += ", of what runs now"
				return bad
			}
		}
		t.Pass(checkLevel, want, want)
	}
	for _, one := range out.levels.parts() {
		if one.judged.Status == pcs.Revoked {
			return refuse(checkLevelRevoked, "the level of the "+one.name+" of "+
				one.judged.Date.Format(time.DateOnly)+" is Revoked", wantNone)
		}
	}
	if out.info == nil && out.identity == nil {
		t.NotApplicable(checkLevelRevoked, withoutInfo)
		return nil
	}
	t.Pass(checkLevelRevoked, "not revoked", wantNone)
	return nil
}
