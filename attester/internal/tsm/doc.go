// Package tsm asks the kernel for reports by way of configfs-tsm (Linux 6.7 and later,
// Documentation/ABI/testing/configfs-tsm-report), which drivers of SEV-SNP and TDX guests share.
//
// What comes in: 64 bytes for the report data, and the name of the driver that is wanted. What is true
// where a call returns no error: that driver made what is returned, in an entry that nobody else wrote
// to meanwhile. What is not shown: that the report is over those bytes, or genuine.
package tsm
