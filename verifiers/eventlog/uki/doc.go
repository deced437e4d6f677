// Package uki predicts what a boot measures from the files that are booted: PCRs 4, 7, 11 and 12
// from a unified kernel image (UAPI.5), the images started before it, and the Secure Boot
// variables.
//
// What comes in are the operator's own files. What is true of a predicted PCR: it is what a
// firmware that follows the TCG PC Client Platform Firmware Profile (1.05 r23) and a systemd-stub
// of the version in the image extend, in that order, under the assumptions that stand beside it.
// What cannot be known from the files has no value and a sentence that says why: nothing is
// guessed. What is not shown: that the files are any good, that a machine boots them, or that its
// firmware follows the profile; a golden boot shows that.
package uki
