package host

import (
	"context"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// Slog is the plugin's logger in the standard library's form, for what knows no other.
func Slog(logger hclog.Logger) *slog.Logger { return slog.New(&slogHandler{logger: logger}) }

type slogHandler struct {
	logger hclog.Logger
	prefix string
	attrs  []any
}

func levelOf(level slog.Level) hclog.Level {
	switch {
	case level >= slog.LevelError:
		return hclog.Error
	case level >= slog.LevelWarn:
		return hclog.Warn
	case level >= slog.LevelInfo:
		return hclog.Info
	default:
		return hclog.Debug
	}
}

// Enabled reports whether lines of the level are written.
func (h *slogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return levelOf(level) >= h.logger.GetLevel()
}

// Handle writes one line.
func (h *slogHandler) Handle(_ context.Context, record slog.Record) error {
	args := slices.Clone(h.attrs)
	record.Attrs(func(attr slog.Attr) bool {
		args = h.add(args, attr)
		return true
	})
	h.logger.Log(levelOf(record.Level), record.Message, args...)
	return nil
}

// WithAttrs returns the handler with attributes on every line.
func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = slices.Clone(h.attrs)
	for _, attr := range attrs {
		next.attrs = h.add(next.attrs, attr)
	}
	return &next
}

// WithGroup returns the handler with a name before those of the attributes to come.
func (h *slogHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.prefix += name + "."
	return &next
}

func (h *slogHandler) add(args []any, attr slog.Attr) []any {
	return append(args, h.prefix+attr.Key, attr.Value.Resolve().Any())
}
