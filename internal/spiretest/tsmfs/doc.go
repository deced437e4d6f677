// Package tsmfs is the kernel's configfs-tsm for programs that are started by a test: a file system in
// which a folder that is made has the files of a report, and a report is whatever the test makes of the
// data that was written.
//
// What comes in is a function that makes reports. What is true while it is mounted: each write to
// inblob is one value and moves the generation, and a folder is removed with its files. What is not
// shown: anything about a kernel's own. It needs root and /dev/fuse, and speaks the little of FUSE's
// protocol (include/uapi/linux/fuse.h, version 7.31) that this takes.
package tsmfs
