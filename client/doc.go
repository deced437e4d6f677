// Package client asks an attestd: for challenges, for verdicts on evidence that answers them, and for
// signed results.
//
//	c, err := client.New("unix:/run/attestd/attestd.sock", client.Options{})
//	verdict, err := c.Attest(ctx, client.Wish{Format: attestd.FormatNitro, Result: true},
//		func(ctx context.Context, asked client.Challenge) (client.Evidence, error) {
//			freshness, err := asked.Binding(nil).Digest()
//			...
//		})
//
// What comes in are the answers of whoever is at the address. What is true of a [Verdict] that came
// without an error: the server at that address gave it, for evidence with the digest of what was sent,
// and it is decided. What is not shown: that the verdict is "accepted" (read it; a rejection is an
// answer and no error), or anything to somebody else. For them there are results, which package
// client/ear reads.
//
// In the clear nothing leaves the machine, redirects are not followed, and answers are bounded. Where
// there is no answer the error is an [*Error] with the class, what to do, and when to try again.
package client
