package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/ovs-sg/ovs-sg/policy"
)

// fields is a mapping whose fields are taken one by one, so that the fields left
// at the end are known to be unknown fields.
type fields struct {
	d       *decoder
	v       value
	taken   []bool // per pair of v.Content
	known   []string
	ignored []string // known as well

	few     [16]bool // room for taken
	fewName [6]string
}

// mapping reads v as a mapping. If v is not a mapping, mapping reports an error
// and ok is false.
func (d *decoder) mapping(v value) (f *fields, ok bool) {
	if v.Kind != yaml.MappingNode {
		d.fail(v, "must be a mapping, not %s", describe(v.Node))
		return nil, false
	}
	f = &fields{d: d, v: v}
	f.known = f.fewName[:0]
	if n := len(v.Content) / 2; n <= len(f.few) {
		f.taken = f.few[:n]
	} else {
		f.taken = make([]bool, n)
	}
	return f, true
}

// ignore marks the fields with these names as known, whatever their values.
func (f *fields) ignore(names []string) {
	f.ignored = names
	for i := range f.taken {
		f.taken[i] = f.taken[i] || slices.Contains(names, f.v.Content[2*i].Value)
	}
}

// take returns the value of a field and marks it as known.
func (f *fields) take(name string) (value, bool) {
	f.known = append(f.known, name)
	for i := 0; i+1 < len(f.v.Content); i += 2 {
		if f.v.Content[i].Value == name {
			f.taken[i/2] = true
			return value{Node: f.v.Content[i+1], up: &f.v, field: name}, true
		}
	}
	return value{}, false
}

// require is like take, but reports a missing field.
func (f *fields) require(name string) (value, bool) {
	v, ok := f.take(name)
	if !ok {
		f.d.failField(f.v.Node, f.v.join(name), "is required")
	}
	return v, ok
}

// within is like take, for a field that is a mapping; ok is false if the field is
// missing or null.
func (f *fields) within(name string) (g *fields, ok bool) {
	v, ok := f.take(name)
	if !ok || isNull(v.Node) {
		return nil, false
	}
	return f.d.mapping(v)
}

// requireWithin is like require, for a field that is a mapping.
func (f *fields) requireWithin(name string) (*fields, bool) {
	v, ok := f.require(name)
	if !ok {
		return nil, false
	}
	return f.d.mapping(v)
}

// finish reports the fields that were not taken.
func (f *fields) finish() {
	for i := 0; i+1 < len(f.v.Content); i += 2 {
		if f.taken[i/2] {
			continue
		}
		k := f.v.Content[i]
		reason := "unknown field"
		for _, name := range slices.Concat(f.known, f.ignored) {
			if strings.EqualFold(name, k.Value) {
				reason += "; did you mean " + name + "?"
				break
			}
		}
		f.d.failField(k, f.v.join(k.Value), "%s", reason)
	}
}

// elements reads v as a list; null is the empty list.
func (d *decoder) elements(v value) []value {
	if isNull(v.Node) {
		return nil
	}
	if v.Kind != yaml.SequenceNode {
		d.fail(v, "must be a list, not %s", describe(v.Node))
		return nil
	}
	vs := make([]value, len(v.Content))
	for i, n := range v.Content {
		vs[i] = value{Node: n, up: &v, i: i + 1}
	}
	return vs
}

// text reads v as a string that is not empty.
func (d *decoder) text(v value) (string, bool) {
	switch {
	case v.Kind != yaml.ScalarNode, isNull(v.Node):
		d.fail(v, "must be a string, not %s", describe(v.Node))
	case v.ShortTag() != "!!str":
		d.fail(v, "must be a string: put %s in quotes", v.Value)
	case v.Value == "":
		d.fail(v, "must not be empty")
	default:
		return v.Value, true
	}
	return "", false
}

// name reads v as the name of an object. Only characters are allowed that keep
// "namespace/name" unambiguous, also where it is printed.
func (d *decoder) name(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	if len(s) > 253 {
		d.fail(v, "is longer than 253 characters")
		return "", false
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || (c != '-' && c != '_' && c != '.')) {
			d.fail(v, "%q must be letters, digits, '-', '_' and '.', beginning with a letter or digit", s)
			return "", false
		}
	}
	return s, true
}

// label reads v as a printable word that may hold more than a name: a rule
// name, an interface id, a uid. Spaces are accepted where spaces is true.
func (d *decoder) label(v value, spaces bool) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	if len(s) > 253 {
		d.fail(v, "is longer than 253 bytes")
		return "", false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar || (r == ' ' && !spaces) {
			d.fail(v, "%q holds a character that is not allowed there", s)
			return "", false
		}
	}
	if strings.TrimSpace(s) != s {
		d.fail(v, "%q begins or ends with a space", s)
		return "", false
	}
	return s, true
}

// ref reads v as {name: ...}, a reference within the namespace, and returns the
// position of the name.
func (d *decoder) ref(v value, namespace string) (policy.Key, policy.Spot, bool) {
	f, ok := d.mapping(v)
	if !ok {
		return policy.Key{}, policy.Spot{}, false
	}
	defer f.finish()
	nv, ok := f.require("name")
	if !ok {
		return policy.Key{}, policy.Spot{}, false
	}
	name, ok := d.name(nv)
	return policy.Key{Namespace: namespace, Name: name}, spotOf(nv.Node), ok
}

// describe names what a node is, for errors.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.ScalarNode && isNull(n):
		return "nothing"
	case n.Kind == yaml.ScalarNode && len(n.Value) <= 64:
		return strconv.Quote(n.Value)
	}
	return fmt.Sprintf("a value of %d characters", len(n.Value))
}
