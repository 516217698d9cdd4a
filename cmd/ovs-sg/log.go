package main

import (
	"fmt"
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

// printableCore is a core whose messages and fields are made policy.Printable: they may hold text from outside, such as a file's name.
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
		case zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.ReflectType, zapcore.StringerType, zapcore.ByteStringType:
			m := zapcore.NewMapObjectEncoder()
			f.AddTo(m)
			f = zap.Any(f.Key, printableValue(m.Fields[f.Key]))
		}
		out[i] = f
	}
	return out
}

// printableValue makes the strings in a value printable that a field was encoded
// to. What it does not know is told as text.
func printableValue(v any) any {
	switch v := v.(type) {
	case string:
		return policy.Printable(v)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = printableValue(x)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, x := range v {
			out[policy.Printable(key)] = printableValue(x)
		}
		return out
	case nil, bool, int, int64, uint64, float64, time.Duration:
		return v
	}
	return policy.Printable(fmt.Sprint(v))
}
