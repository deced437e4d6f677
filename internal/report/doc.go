// Package report renders what attestd found for the people and programs that read it: text for a
// terminal, JSON after a published schema, JUnit XML and SARIF 2.1.0 for build systems.
//
// What comes in is a finished attestd.Appraisal, an attestd.Inspection or an explanation. What is
// true of everything written here: text is ASCII, no line is longer than the page, and text that an
// attacker chose can neither move the cursor nor start a line of its own. What is not shown: that
// the verdict is right. Nothing is decided here; the same Appraisal gives the same bytes.
package report
