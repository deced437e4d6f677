// Package decide asks an attestd whether a caller may do something now, and enforces the answer in front
// of an http.Handler.
//
//	pdp, err := decide.New("unix:/run/attestd/decisions.sock", decide.Options{})
//	enforcer, err := decide.NewEnforcer(pdp, nil)
//	guard, err := decide.NewGuard(decide.GuardConfig{
//		Enforcer: enforcer, Credential: decide.Bearer, Log: log,
//		Wish: func(r *http.Request) (decide.Wish, error) {
//			return decide.Wish{Action: "data.read", Resource: decide.Resource{
//				Type: "dataset", ID: "features/churn", Tenant: "acme",
//			}}, nil
//		},
//	})
//	http.Handle("/features/", guard.Wrap(features))
//
// It speaks AuthZEN's Authorization API 1.0 and the draft of its Obligations profile. What comes in are a
// caller's credential as it was shown, and the answers of whoever is at the address. What is true of a
// [Decision] with Allow: the server at that address said so for this question, within the time-out, and
// binds the caller of this package to no obligation that it did not name as one it carries out. What is
// not shown: that the server is an attestd; its address and its TLS roots are the operator's.
//
// A question that has no answer has an error and a Decision that denies. Nothing is kept: a decision is
// for one request. In the clear nothing leaves the machine, redirects are not followed, and proxies of the
// environment are not used, because questions carry credentials.
package decide
