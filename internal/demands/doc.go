// Package demands says for each demand of the article that the system was founded on where it is met: by
// which test, on which page, or that it is not yet.
//
// What comes in is the table of this package. What is true of docs/demands.md: it is this table, every
// test that it names is in the tree, and so is every page. What is not shown: that a test is enough for
// its demand; that is for whoever reads it.
package demands
