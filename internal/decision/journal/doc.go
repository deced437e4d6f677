// Package journal keeps what was decided, in files that are only added to.
//
// What comes in are answers of the engine. What is true of a record that can be read: it is what the
// engine answered, it names the digest of the policies that it was made by, and with its input those
// give the same result again ([Replay]). It holds no token, no prompt and no nonce: what looks like one
// is taken out before it is written. What is true of the files together: denials are counted exactly,
// and each is written whole but where a flood of alike ones is folded. What is not shown: that a record
// was not taken away by who may write the folder. Each file names the digest of the one before it, and
// whoever keeps digests elsewhere, as the audit log does, can tell.
//
// Keeping records never waits for a disk, and records never take the space that others need: the oldest
// go first.
package journal
