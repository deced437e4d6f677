// Package authn says who shows a credential: a JWT-SVID, or the certificate chain of an X509-SVID.
//
// What comes in is bytes that an attacker chose, and the bundles of trust domains that an operator
// named. What is true of somebody that [Authenticator.Identify] returned without a fault: a key of the
// bundle of its own trust domain signed the credential, with the algorithm of that key; the credential
// is valid now; a token is for audiences of attestd's alone; and what was remembered of an earlier look
// was made with the bundle that is in force now and under the state that the subject has now. What is not
// shown: that whoever shows a token is its subject (a bearer's token can be stolen), and anything about
// hardware or state.
package authn
