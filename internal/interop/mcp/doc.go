// Package mcp holds the guard for the Model Context Protocol against the official Go SDK: its server,
// protected in both of the ways that docs/decisions/mcp.md shows, and its client.
package mcp
