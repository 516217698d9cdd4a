package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Limits of one manifest file. They are far above what a policy needs and keep
// a hostile or broken file from holding up the others.
const (
	// MaxFileSize is the greatest size of a file, in bytes.
	MaxFileSize = 8 << 20

	maxDepth    = 32   // nesting of mappings and lists
	maxProblems = 1000 // reported of one file
)

// The API versions of the manifests.
const (
	// NetworkingAPIVersion is the apiVersion of SecurityGroup and Subnet.
	NetworkingAPIVersion = "networking.evroclabs.net/v1alpha1"
	// ComputeAPIVersion is the apiVersion of VirtualMachine.
	ComputeAPIVersion = "compute.evroclabs.net/v1alpha1"
)

// DefaultNamespace is the namespace of a manifest that gives none.
const DefaultNamespace = "default"

// File is a manifest file and its content.
type File struct {
	Name string // as positions in errors give it
	Data []byte
}

// Decode reads the manifests of one file, which may hold several YAML
// documents or none. Decode is strict: an unknown field, a field given twice and
// a value out of range are errors. All errors are reported, sorted by position;
// with any error the Objects are empty, because a file is accepted whole or not
// at all. Reading stops at a YAML syntax error.
func Decode(f File) (policy.Objects, []policy.Problem) {
	d := &decoder{file: f.Name}
	if len(f.Data) > MaxFileSize {
		d.problems = append(d.problems, policy.Problem{
			Pos:    policy.Position{File: f.Name},
			Reason: fmt.Sprintf("file is larger than %d bytes", MaxFileSize),
		})
		return policy.Objects{}, d.problems
	}
	if line := oversized(f.Data); line > 0 {
		return policy.Objects{}, []policy.Problem{{Pos: policy.Position{File: f.Name, Line: int32(line)}, Reason: errTooMany}}
	}
	d.documents(f.Data)
	d.duplicates()
	if len(d.problems) == 0 {
		return d.objects, nil
	}
	ps := policy.SortProblems(d.problems)
	if len(ps) > maxProblems {
		more := policy.Problem{Pos: ps[maxProblems].Pos, Reason: "too many errors: the rest is not shown"}
		ps = append(ps[:maxProblems:maxProblems], more)
	}
	return policy.Objects{}, ps
}

// decoder collects the objects and the problems of one file.
type decoder struct {
	file     string
	objects  policy.Objects
	problems []policy.Problem
}

// value is a YAML node and the path that leads to it, which only errors need.
type value struct {
	*yaml.Node
	up    *value // the mapping or list around it; nil for a document
	field string // its name in up, if that is a mapping
	i     int    // its number in up, from 1, if that is a list
}

// path returns the path of fields that leads to v.
func (v *value) path() string {
	switch {
	case v.up == nil:
		return ""
	case v.i > 0:
		return v.up.path() + "[" + strconv.Itoa(v.i-1) + "]"
	}
	return v.up.join(v.field)
}

// join returns the path of a field of v.
func (v *value) join(field string) string {
	path := v.path()
	if path == "" {
		return field
	}
	return path + "." + field
}

func (d *decoder) pos(n *yaml.Node) policy.Position {
	return spotOf(n).In(d.file)
}

func spotOf(n *yaml.Node) policy.Spot {
	return policy.Spot{Line: int32(n.Line), Column: int32(n.Column)}
}

func (d *decoder) fail(v value, format string, args ...any) {
	d.failField(v.Node, v.path(), format, args...)
}

func (d *decoder) failField(n *yaml.Node, field, format string, args ...any) {
	if len(d.problems) > maxProblems {
		return
	}
	d.problems = append(d.problems, policy.Problem{Pos: d.pos(n), Field: field, Reason: fmt.Sprintf(format, args...)})
}

func (d *decoder) documents(data []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for len(d.problems) <= maxProblems {
		var doc yaml.Node
		if err := next(dec, &doc); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			d.problems = append(d.problems, d.syntaxError(err))
			return
		}
		if root := rootOf(&doc); root != nil {
			d.document(root)
		}
	}
}

// rootOf returns the node in a document; nil if the document is empty, null or
// only comments.
func rootOf(doc *yaml.Node) *yaml.Node {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

func (d *decoder) document(root *yaml.Node) {
	if !d.known(root) {
		return
	}
	before := len(d.problems)
	d.checkShape(root, make([]step, 0, maxDepth+1))
	if len(d.problems) == before {
		d.manifest(root)
	}
}

// known reports whether a document is a manifest, by its kind, and why it is not.
// An error of any other document quotes no more of it than its kind: what is not a
// manifest may be a file that others must not read.
func (d *decoder) known(root *yaml.Node) bool {
	v := value{Node: root}
	switch root.Kind {
	case yaml.MappingNode:
	case yaml.SequenceNode:
		d.fail(v, "must be a mapping, not a list")
		return false
	default:
		d.fail(v, "must be a mapping")
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		kind := root.Content[i+1]
		if root.Content[i].Value != "kind" {
			continue
		}
		if kind.Kind != yaml.ScalarNode || kind.ShortTag() != "!!str" || kind.Value == "" {
			d.failField(kind, "kind", "must be a string")
			return false
		}
		if !slices.Contains([]string{policy.KindGroup, policy.KindSubnet, policy.KindVirtualMachine}, kind.Value) {
			d.failField(kind, "kind", "unknown kind %q; known are %s, %s and %s", cut(kind.Value), policy.KindGroup, policy.KindSubnet, policy.KindVirtualMachine)
			return false
		}
		return true
	}
	d.failField(root, "kind", "is required")
	return false
}

// cut returns the beginning of a text that is too long for an error.
func cut(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// next reads a document. The YAML library reports its own errors by panicking
// and recovering; next turns a panic that the library does not recover into an
// error, so that no input can take the agent down.
func next(dec *yaml.Decoder, doc *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading YAML: %v", r)
		}
	}()
	return dec.Decode(doc)
}

// syntaxError takes the line out of the text of an error of the YAML library,
// because the error has it nowhere else.
func (d *decoder) syntaxError(err error) policy.Problem {
	p := policy.Problem{Pos: policy.Position{File: d.file}}
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(s, "line "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(num); err == nil && line > 0 {
				p.Pos.Line, s = int32(line), text
			}
		}
	}
	if strings.HasPrefix(s, "unknown anchor ") { // the only message that quotes the file
		s = "unknown anchor"
	}
	p.Reason = "not YAML: " + s
	return p
}

// step leads from a node to a field of it or, if i is not zero, to an element.
type step struct {
	field string
	i     int // from 1
}

// at returns the value that the steps lead to, without its node. It serves the
// path of an error.
func at(steps []step) *value {
	v := &value{}
	for _, s := range steps {
		v = &value{up: v, field: s.field, i: s.i}
	}
	return v
}

// checkShape refuses YAML that no manifest needs, in free-form parts as well:
// aliases, merge keys, keys that are not strings, keys given twice, and deep
// nesting. The steps lead to n.
func (d *decoder) checkShape(n *yaml.Node, steps []step) {
	if len(steps) > maxDepth {
		d.failField(n, at(steps).path(), "nested deeper than %d levels", maxDepth)
		return
	}
	switch n.Kind {
	case yaml.AliasNode:
		d.failField(n, at(steps).path(), "YAML aliases (*%s) are not supported: write the value out", n.Value)
	case yaml.MappingNode:
		var seen map[string]*yaml.Node // of a large mapping; in a small one, a search is faster
		if len(n.Content) > 64 {
			seen = make(map[string]*yaml.Node, len(n.Content)/2)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if !isPlain(k) {
				d.failField(k, at(steps).path(), "field names must be plain strings")
				continue
			}
			first := seen[k.Value]
			if seen == nil {
				first = findKey(n.Content[:i], k.Value)
			}
			if first != nil {
				d.failField(k, at(steps).join(k.Value), "given twice; first on line %d", first.Line)
				continue
			}
			if seen != nil {
				seen[k.Value] = k
			}
			d.checkShape(n.Content[i+1], append(steps, step{field: k.Value}))
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			d.checkShape(c, append(steps, step{i: i + 1}))
		}
	}
}

// isPlain reports whether a key is a plain string.
func isPlain(k *yaml.Node) bool { return k.Kind == yaml.ScalarNode && k.ShortTag() != "!!merge" }

// findKey returns the plain key with a name in the content of a mapping, or nil.
func findKey(content []*yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(content); i += 2 {
		if k := content[i]; k.Value == name && isPlain(k) {
			return k
		}
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// duplicates refuses an object that the file defines twice.
func (d *decoder) duplicates() {
	all := d.objects.Definitions()
	slices.SortStableFunc(all, func(a, b policy.Definition) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Key.Compare(b.Key), a.Pos.Compare(b.Pos))
	})
	for i := 1; i < len(all); i++ {
		first := i - 1
		for first > 0 && all[first-1].ID() == all[i].ID() {
			first--
		}
		if all[first].ID() == all[i].ID() {
			d.problems = append(d.problems, policy.DefinedTwice(all[i], all[first]))
		}
	}
}
