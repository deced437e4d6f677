// Package api is the HTTP edge: it turns requests into questions to package service, and answers
// and errors into documents.
//
// What comes in are connections of anybody who reaches the listener. What is true for a request that
// reaches the service: its path and method are in the one table of routes, its body had a known
// media type and no encoding, was read whole within the limits, and held no key twice and none that
// is not known. What is not shown: who the caller is; where that matters, the listener demands a
// client certificate.
//
// Errors become problem documents (RFC 9457) through one function; a rejection is no error.
package api
