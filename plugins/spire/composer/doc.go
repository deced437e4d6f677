// Package composer is attestd's CredentialComposer for SPIRE servers: nothing is signed for an agent or
// a workload that attestd does not grant at that moment, and what is signed says what attestd knows.
//
// What comes in: SPIRE's question which attributes a credential gets, with the SPIFFE ID and, for X.509,
// the public key. What is true of a credential that was composed: attestd has granted and counted it,
// as the last thing before SPIRE was answered; a JWT-SVID carries attestd's claims, an X.509-SVID its
// extension; nobody before this composer had set them, and the end of a JWT-SVID was only brought
// nearer. The server's own CA and SVID, and the certificate that its health check makes over a key that
// nobody has, pass as they are: attestd may not be there when a server starts. A CA for a server below
// this one is refused unless the configuration allows it: what that one issues, nobody asks attestd about.
//
// While attestd does not answer at all, nothing is composed for anybody, unless attestd handed out what
// to go on by (spire.degraded): then JWT-SVIDs alone, for at most a minute, to ids that it named in it,
// with an end and claims that it named, and attestd_degraded: true. Attestd had counted each of them
// before. What it refused since is refused here too. Who signed that is whoever answered first over the
// link that grants come over; the signature shows that it is whole and meant for this.
//
// What is not shown: that SPIRE signs what was composed, or when; that is why grants are counted. That
// no composer after this one changes a claim: the canary of attestd's controller looks at that. Who
// asked: SPIRE tells neither the agent nor the entry.
//
// Every refusal is an error of some other code than Unimplemented, at which SPIRE would issue the
// credential as if there were no composer.
package composer
