package host

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Kinds of messages between supervisor and child, over a pipe each way that nobody else holds.
const (
	// controlReady: child to supervisor, the type of the plugin: from now on calls are answered.
	controlReady byte = 'R'
	// controlConfiguration: child to supervisor when a Configure was accepted, and supervisor to child
	// at its start, the ConfigureRequest that was accepted last.
	controlConfiguration byte = 'C'
	// controlNothing: supervisor to child at its start, there is no configuration yet.
	controlNothing byte = 'N'
	// controlGoodbye: child to supervisor, SPIRE has ended the plugin and wants no other child.
	controlGoodbye byte = 'G'
)

// maxControl bounds a message: a configuration and what gRPC adds to it.
const maxControl = maxConfiguration + 1<<16

func writeControl(to io.Writer, kind byte, body []byte) error {
	if len(body) > maxControl {
		return fmt.Errorf("a message of %d bytes, want at most %d", len(body), maxControl)
	}
	message := make([]byte, 5, 5+len(body))
	message[0] = kind
	binary.BigEndian.PutUint32(message[1:], uint32(len(body)))
	_, err := to.Write(append(message, body...))
	return err
}

func readControl(from io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxControl {
		return 0, nil, fmt.Errorf("a message of %d bytes, want at most %d", size, maxControl)
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(from, body); err != nil {
		return 0, nil, err
	}
	return head[0], body, nil
}
