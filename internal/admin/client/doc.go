// Package client asks the admin API of one attestd: over its unix socket with the token that lies
// beside it, or over TLS with an operator's certificate.
//
// What comes in is where the server is and who asks. What is true of an answer without an error: it
// came over the socket that was named, or from a server that attestd's own authority vouches for; the
// server took the asker for whom they said they are; and the document is of the schema that was asked
// for. What is not shown: that the server tells the truth about its subjects.
//
// Every error is a [*attestd.CallerError] with a hint for whoever reads it at night. Where a request
// that changes something was sent and no answer came, the error says that it may have been carried
// out.
package client
