package tsmfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"syscall"
)

// Operations (enum fuse_opcode).
const (
	opLookup     = 1
	opForget     = 2
	opGetattr    = 3
	opSetattr    = 4
	opMkdir      = 9
	opRmdir      = 11
	opOpen       = 14
	opRead       = 15
	opWrite      = 16
	opStatfs     = 17
	opRelease    = 18
	opFlush      = 25
	opInit       = 26
	opOpendir    = 27
	opReaddir    = 28
	opReleasedir = 29
	opAccess     = 34
	opInterrupt  = 36
	opBatch      = 42 // FUSE_BATCH_FORGET
)

const (
	headIn   = 40      // struct fuse_in_header
	maxWrite = 1 << 16 // what one request can carry
	// openDirect has the kernel keep no page and ask for each read (FOPEN_DIRECT_IO).
	openDirect = 1
)

// serve answers the kernel until the file system is unmounted. A report may take a while, so that each
// request is answered beside the others.
func (f *FS) serve() {
	defer close(f.ended)
	buffer := make([]byte, maxWrite+4096)
	for {
		n, err := syscall.Read(f.device, buffer)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOENT):
			continue
		case err != nil || n < headIn:
			return // unmounted
		}
		go f.answer(bytes.Clone(buffer[:n]))
	}
}

// answer answers one request.
func (f *FS) answer(request []byte) {
	put := binary.NativeEndian
	unique, body := put.Uint64(request[8:]), request[headIn:]
	operation := put.Uint32(request[4:])
	if operation == opForget || operation == opBatch || operation == opInterrupt {
		return
	}
	said, code := f.operate(operation, put.Uint64(request[16:]), body)
	if code != 0 {
		said = nil
	}
	out := put.AppendUint32(nil, uint32(16+len(said))) //nolint:gosec // at most maxWrite
	out = put.AppendUint32(out, uint32(-int32(code)))  //nolint:gosec // as the protocol has it
	out = append(put.AppendUint64(out, unique), said...)
	_, _ = syscall.Write(f.device, out) // whoever asked may be gone
}

func (f *FS) operate(operation uint32, node uint64, body []byte) ([]byte, syscall.Errno) {
	put := binary.NativeEndian
	switch operation {
	case opInit:
		out := make([]byte, 64) // struct fuse_init_out
		put.PutUint32(out, 7)
		put.PutUint32(out[4:], 31)
		put.PutUint32(out[8:], put.Uint32(body[8:])) // max_readahead
		put.PutUint32(out[20:], maxWrite)
		put.PutUint32(out[24:], 1) // time_gran
		return out, 0
	case opLookup:
		found, code := f.find(node, name(body))
		return entryOf(found), code
	case opMkdir:
		made, code := f.mkdir(node, name(body[8:]))
		return entryOf(made), code
	case opRmdir:
		return nil, f.rmdir(node, name(body))
	case opGetattr, opSetattr:
		return append(make([]byte, 16), attributes(node)...), 0 // good for no time at all
	case opOpen, opOpendir:
		out := make([]byte, 16) // struct fuse_open_out; its handle says nothing
		put.PutUint32(out[8:], openDirect)
		return out, 0
	case opRead:
		content, code := f.content(node)
		from := min(put.Uint64(body[8:]), uint64(len(content)))
		until := min(from+uint64(put.Uint32(body[16:])), uint64(len(content)))
		return content[from:until], code
	case opWrite:
		data := body[40:]
		return put.AppendUint64(nil, uint64(len(data))), f.write(node, data)
	case opStatfs:
		return make([]byte, 80), 0
	case opReaddir, opRelease, opReleasedir, opFlush, opAccess:
		return nil, 0
	}
	return nil, syscall.ENOSYS
}

// name is a string that ends with zero.
func name(body []byte) string {
	text, _, _ := bytes.Cut(body, []byte{0})
	return string(text)
}

// entryOf is struct fuse_entry_out: the kernel keeps it for no time at all.
func entryOf(node uint64) []byte {
	out := make([]byte, 40)
	binary.NativeEndian.PutUint64(out, node)
	return append(out, attributes(node)...)
}
