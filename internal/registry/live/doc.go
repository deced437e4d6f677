// Package live answers, from memory, in which state a subject is and whether it may be granted
// anything now.
//
// What comes in is what the registry has committed ([Index.Load], [Index.Publish]) and what was
// ordered while it could not commit ([Index.Hold]). What is true of a grant that [Index.Grant] gave:
// when it was counted the subject was trusted, owned, not overdue, and under no bar; the state was
// read and the grant counted under one lock, which a publication takes too. So after a publication
// has returned every grant is either refused or among those that [Index.Outstanding] counts. What is
// not shown: that what was published is durable (the registry's), or that whoever holds a grant uses
// it before it ends.
//
// The index forgets its counts on a restart; [Index.Since] says since when it has counted, and
// [Index.Presume] has it say that there may be more. Before
// Load has returned without an error, everything is refused.
package live
