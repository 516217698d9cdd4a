package main

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
)

// Text from outside cannot forge a line of the log, in any part of it.
func TestLogIsPrintable(t *testing.T) {
	const evil = "a\nb\x1b[2J\u202ec"
	for _, encoder := range []func(zapcore.EncoderConfig) zapcore.Encoder{zapcore.NewConsoleEncoder, zapcore.NewJSONEncoder} {
		var out zaptest.Buffer
		core := zapcore.NewCore(encoder(zap.NewProductionEncoderConfig()), &out, zapcore.InfoLevel)
		log := zap.New(printableCore{core}).With(zap.String("with", evil))
		log.Info(evil, zap.String("field", evil), zap.Error(errors.New(evil)),
			zap.Strings("list", []string{evil, "b"}), zap.Any("any", map[string][]string{evil: {evil}}), zap.Stringer("stringer", stringer(evil)))
		log.Debug("below the level")
		text := strings.TrimSuffix(out.String(), "\n")
		if strings.Count(text, `\u202e`) < 7 || !strings.Contains(text, `, "b"]`) && !strings.Contains(text, `,"b"]`) || strings.ContainsAny(text, "\n\x1b\u202e") {
			t.Errorf("%q", text)
		}
	}
}

type stringer string

func (s stringer) String() string { return string(s) }
