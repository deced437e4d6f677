package journal

import (
	"bytes"
	"context"
)

// listing is one page in the making.
type listing struct {
	reader *Reader
	filter filter
	after  *place
	left   int64
	page   Page
}

// full reports whether the page ends behind a line, and notes where the next begins.
func (l *listing) full(at place) bool {
	if len(l.page.Records) < l.filter.Limit {
		return false
	}
	l.page.Next = at.String()
	return true
}

// forward reads segments, the oldest first. Next is where the next line begins, also where there is none
// yet.
func (l *listing) forward(ctx context.Context, all []segment) error {
	at := place{}
	if l.after != nil {
		at = *l.after
	}
	for index, one := range all {
		// A segment is over before the next one begins.
		if one.number < at.segment || index+1 < len(all) && !l.filter.Since.IsZero() &&
			all[index+1].begun.Before(l.filter.Since.Add(-slack)) {
			continue
		}
		if one.number > at.segment {
			at = place{segment: one.number}
		}
		if l.left <= 0 {
			l.page.Next = at.String()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		content, err := l.reader.content(one)
		if err != nil {
			return err
		}
		l.left -= int64(len(content))
		for at.offset < int64(len(content)) {
			length := bytes.IndexByte(content[at.offset:], '\n')
			if length < 0 {
				break // torn, or still being written
			}
			line := content[at.offset : at.offset+int64(length)]
			at.offset += int64(length) + 1
			if record, ok := l.filter.read(line); ok {
				l.page.Records = append(l.page.Records, record)
				if l.full(at) {
					return nil
				}
			}
		}
	}
	l.page.Next = at.String()
	return nil
}

// backward reads segments, the newest first. Next is where the last line that was read begins.
func (l *listing) backward(ctx context.Context, all []segment) error {
	for index, one := range all {
		if l.after != nil && one.number > l.after.segment ||
			!l.filter.Until.IsZero() && one.begun.After(l.filter.Until.Add(slack)) {
			continue
		}
		if index > 0 && !l.filter.Since.IsZero() && all[index-1].begun.Before(l.filter.Since.Add(-slack)) {
			return nil // it, and all before it, was over by then
		}
		if l.left <= 0 {
			l.page.Next = place{segment: all[index-1].number}.String()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		content, err := l.reader.content(one)
		if err != nil {
			return err
		}
		l.left -= int64(len(content))
		end := int64(bytes.LastIndexByte(content, '\n') + 1)
		if l.after != nil && one.number == l.after.segment {
			end = min(end, l.after.offset)
		}
		for end > 0 {
			begin := int64(bytes.LastIndexByte(content[:end-1], '\n') + 1)
			if record, ok := l.filter.read(content[begin : end-1]); ok {
				l.page.Records = append(l.page.Records, record)
				if l.full(place{segment: one.number, offset: begin}) {
					return nil
				}
			}
			end = begin
		}
	}
	return nil
}
