// Package audit keeps what was done in a transparency log.
package audit
