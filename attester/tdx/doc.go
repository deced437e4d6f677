// Package tdx collects evidence inside an Intel TDX guest: a quote, and the firmware's log of what it
// measured.
//
// What comes in: 64 bytes for the report data. What is true where a call returns no error: the kernel
// gave, through configfs-tsm (Linux 6.7 and later), a quote of version 4 or 5 of a trust domain that
// holds exactly these bytes, and nothing behind its end. What is not shown: that the quote is genuine.
// Only a verifier shows that, with what Intel says about the platform, which it has from its own side.
package tdx
