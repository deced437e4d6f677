package awsdoc

import "time"

// limits on what is read, in one place. A document over one of them is refused before it costs
// anything; the greatest published document has 4,775 bytes.
var limits = struct {
	document     int // bytes of the whole COSE_Sign1
	certificates int // certificates from the pinned root to the leaf, both counted
	certificate  int // bytes of one certificate
	moduleID     int // bytes of module_id
	userData     int // bytes of public_key, user_data and nonce, each
	pcrs         int // registers; also one more than the greatest index
}{
	// NSM section 3.1: the payload has 1 to 16384 bytes; 108 bytes are what the array, the protected
	// header, the empty map, the heads and a signature of 96 bytes add to the longest.
	document: 16384 + 108,
	// Published chains have 5. With 8 there are at most 7 certificate signatures and the document's:
	// no input costs more than 8 verifications.
	certificates: 8,
	certificate:  1024, // NSM section 2.2: cert = bytes .size (1..1024)
	moduleID:     256,  // NSM sets no limit; published ids have 39 bytes
	userData:     1024, // NSM section 2.2: user_data = bytes .size (0..1024)
	pcrs:         32,   // NSM section 2.2: index = 0..31
}

// digestSize is the length of a register: NSM section 2.2 has one digest, "SHA384".
const digestSize = 48

// Times around the timestamp. They are constants and no configuration: a caller who wants to judge
// old evidence says so with a recorded demand.
const (
	// MaxAge is how old a document may be where freshness is demanded. A nonce shows that it is newer
	// than the challenge; the age limits what a document kept back is good for.
	MaxAge = 5 * time.Minute
	// MaxSkew is how far the signer's clock may be from the time given, and from the issuer's.
	MaxSkew = time.Minute
)
