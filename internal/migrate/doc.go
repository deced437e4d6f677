// Package migrate plans the way of a SPIRE server's agents and entries from another node attestor to
// attestd's: which entries are needed beside those that there are, whom attestd would refuse, and which
// entries are to want attestd's selectors.
//
// What comes in is what SPIRE has at one moment, over its socket or saved by its own commands, and what
// attestd's registry says of nodes. What is true of a plan: nothing that is in it takes an identity from
// anybody; it only adds. What is true of an enforcement: it changes the selectors of the entries that
// were named, adds to them and takes none away, and leaves out those whose nodes attestd would refuse.
// What is not shown: that agents and entries are still so when the plan is carried out.
package migrate
