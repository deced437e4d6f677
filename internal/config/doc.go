// Package config is the configuration of attestd serve.
//
// What comes in is one YAML document. What is true if Parse returns nil: every key is known and stood
// once, every value is of its kind and within its bounds, values do not contradict each other, and
// nothing that the document asks for is served in plaintext beyond this machine. What is not shown:
// that the files it names exist and hold what they must; the daemon says so when it starts.
//
// All problems are reported at once, each with its line and the path of its key. Keys that are left
// out have the value of Default; there is no other default anywhere.
package config
