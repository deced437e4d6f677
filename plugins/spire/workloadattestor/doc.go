// Package workloadattestor is attestd's WorkloadAttestor for SPIRE's agent: it says what a process is,
// and whether the node it runs on may have identities now.
//
// What comes in: process ids, from SPIRE; and, over one stream, snapshots of the node's state that
// attestd signed. What is true of selectors that are given: attestd admitted the node in a snapshot
// that verifies under the key which the node was enlisted with, names this node, is newer than every
// one before, and was issued less than the bound (10 s by default) ago by a clock that nobody can set
// back; that was so after everything else was known, when the answer was given. "sha256" is of the
// file that the process was started from, however it is called by now, and "workload" the name that
// reference values have for it. "container" is the id that the host's runtime put into the control
// group. The process was the same from the beginning of the look to its end. Whatever is not so is
// withheld, all selectors of this type with it: entries match by selectors that are there, so nothing
// is ever granted because something is missing.
//
// What is not shown: what an interpreter runs, which libraries were loaded, what was changed in the
// memory of a process, who runs it (a process may ask, hand the connection on and become another program;
// an entry names the user or the container beside the program), or that the node's kernel tells the truth. Whoever is root on the node can have
// the agent tell SPIRE any selector; against that stand the refusals in attestd itself. A selector
// speaks of the moment in which it was given: SPIRE attests a stream of X.509-SVIDs once, when it is
// opened.
package workloadattestor
