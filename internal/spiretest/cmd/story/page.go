package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// width is the page's in columns, as that of every answer of attestd's.
const width = 100

// page is what people see. It says nothing by colour alone, and has colours on a terminal only.
type page struct {
	out     io.Writer
	colours bool
	began   time.Time
	scene   time.Time
}

func newPage(out io.Writer) *page {
	p := &page{out: out, began: time.Now()}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.colours = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" &&
			os.Getenv("CI") == "" && os.Getenv("TERM") != "dumb"
	}
	return p
}

// line prints one line, cut where the page ends.
func (p *page) line(text string) {
	if len(text) > width {
		text = text[:width-2] + ".."
	}
	_, _ = fmt.Fprintln(p.out, text)
}

// built says that the story itself begins.
func (p *page) built() {
	p.line(fmt.Sprintf("attestd, its plugins and the workload are built (%.1f s).",
		time.Since(p.began).Seconds()))
	p.began = time.Now()
}

// title begins a scene.
func (p *page) title(number, of int, what string) {
	p.scene = time.Now()
	p.line("")
	p.bold(fmt.Sprintf("%d/%d  %s", number, of, what))
}

func (p *page) bold(text string) {
	if p.colours {
		_, _ = fmt.Fprintf(p.out, "\x1b[1m%s\x1b[0m\n", text)
		return
	}
	p.line(text)
}

// fact prints what was seen, under a name.
func (p *page) fact(name, format string, args ...any) {
	first := fmt.Sprintf("     %-12s", name)
	for i, text := range wrap(fmt.Sprintf(format, args...), width-len(first)) {
		if i > 0 {
			first = strings.Repeat(" ", 17)
		}
		p.line(first + text)
	}
}

// wrap breaks a text between words; a word that is longer than a line is broken too.
func wrap(text string, most int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		for len(word) > most {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			lines, word = append(lines, word[:most]), word[most:]
		}
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= most:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// quote prints a command and what it answered.
func (p *page) quote(command, answer string) {
	for i, line := range wrap(command, width-11) {
		if i == 0 {
			p.line("     $ " + line)
		} else {
			p.line("         " + line)
		}
	}
	for line := range strings.Lines(strings.TrimRight(answer, "\n")) {
		p.line(strings.TrimRight("     | "+strings.TrimRight(line, "\n"), " "))
	}
}

// done ends a scene: what had to be true was.
func (p *page) done(what string) {
	word := "ok"
	if p.colours {
		word = "\x1b[32mok\x1b[0m"
	}
	for i, text := range wrap(fmt.Sprintf("%s   (%.1f s)", what, time.Since(p.scene).Seconds()), width-9) {
		if i > 0 {
			word = "  "
		}
		_, _ = fmt.Fprintf(p.out, "     %s  %s\n", word, text)
	}
}

// end is the last line but one, and the next command.
func (p *page) end(scenes int) {
	p.line("")
	p.bold(fmt.Sprintf("STORY   %d of %d scenes as they must be   %.0f s", scenes, scenes,
		time.Since(p.began).Seconds()))
	p.line("next     docs/howto/spire-in-ten-minutes.md: the same with your SPIRE and your TPM")
}
