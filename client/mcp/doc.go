// Package mcp protects servers of the Model Context Protocol: each message of a client becomes a question
// to attestd, after COAZ-MCP, AuthZEN's binding for that protocol (draft 1).
//
// What comes in are messages that a client chose, and its credential as it was shown. What is true of a
// message that passes: it is a ping or a notification, which the binding lets pass without a question; or
// a decision allowed its method, on the tool, resource, prompt or server that it names, now. What is not
// shown: anything about what a tool does with its arguments, where [Config.Tool] looks at none; and
// requests that the server sends to the client, which the binding leaves out.
//
// Where we leave the binding: actions have the names of attestd's policies ([Rules]), subjects are
// workloads with their SVID, and tools declare no mapping in CEL (x-authzen-mapping): a program says in Go
// what a call wants ([Config.Tool]), because what a server declares about itself is not what an operator
// wrote.
//
// The package imports no SDK. [Guard.Handler] stands in front of any server over HTTP; [Guard.Check] is
// what a middleware of an SDK calls: docs/decisions/mcp.md has the one for the official Go SDK.
package mcp
