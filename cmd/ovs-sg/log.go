package main

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ovs-sg/ovs-sg/policy"
)

// logger returns the logger that the flags ask for.
func (a *agentCmd) logger() (*zap.Logger, error) {
	cfg := zap.NewProductionConfig()
	cfg.Encoding = a.LogFormat
	cfg.Sampling = nil
	cfg.DisableCaller, cfg.DisableStacktrace = true, true
	cfg.EncoderConfig.EncodeTime = func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
		e.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	cfg.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	level, err := zap.ParseAtomicLevel(a.LogLevel)
	if err != nil {
		return nil, err
	}
	cfg.Level = level
	return cfg.Build(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return printableCore{c} }))
}

// printableCore is a core whose messages, strings and errors are made
// policy.Printable: they may hold text from outside, such as a file's name.
type printableCore struct{ zapcore.Core }

// With implements zapcore.Core.
func (c printableCore) With(fields []zapcore.Field) zapcore.Core {
	return printableCore{c.Core.With(printable(fields))}
}

// Check implements zapcore.Core.
func (c printableCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core.
func (c printableCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message = policy.Printable(e.Message)
	return c.Core.Write(e, printable(fields))
}

func printable(fields []zapcore.Field) []zapcore.Field {
	out := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		switch f.Type {
		case zapcore.StringType:
			f.String = policy.Printable(f.String)
		case zapcore.ErrorType:
			f = zap.String(f.Key, policy.Printable(f.Interface.(error).Error()))
		}
		out[i] = f
	}
	return out
}
