package main

// inClasses are mistakes about who is judged alike, and at which epochs.
var inClasses = []mutation{
	// Classes: the flows.
	{"class: what another's connection left is believed", class,
		`RegLacks(RegCommit, 1<<s.stale().Offset), `,
		``, ""},
	{"class: the other side's stale bit", class,
		`RegLacks(RegCommit, 1<<s.stale().Offset), `,
		`RegLacks(RegCommit, 2>>s.stale().Offset), `, ""},
	{"class: one stale bit for both", rule,
		`Bits{RegCommit, pick(s, 0, 1), 1}`,
		`Bits{RegCommit, pick(s, 0, 0), 1}`, "both halves are judged again then, which allows the same"},
	{"class: another's connection is not stale", class,
		`int(s.epoch()), load, Load(s.stale(), 1))`,
		`int(s.epoch()), load)`, ""},
	{"class: the epoch of the other direction is asked", class,
		`CTLabel(s.label(0, epochs[s.Direction]),`,
		`CTLabel(s.label(0, epochs[1-s.Direction]),`, ""},
	{"class: the epoch of the other direction is loaded", class,
		`SetReg(s.epochReg(), epochs[s.Direction])`,
		`SetReg(s.epochReg(), epochs[1-s.Direction])`, ""},
	{"class: the same number whatever the index", class,
		`if k.index > 0 {`,
		`if k.index > 99 {`, ""},
	{"class: references of the other direction", class,
		`refs := &out.refs[r.Direction]`,
		`refs := &out.refs[1-r.Direction]`, ""},
	{"class: only the first group referred to", class,
		`&& !slices.Contains(*refs, r.Remote.Group) {`,
		`&& len(*refs) == 0 {`, ""},
	{"class: contents of both directions", class,
		`if r.Direction == d {`,
		`if r.Direction >= 0 {`, ""},
	{"class: the fingerprint without the VPC", class,
		`"rules "+vpc+"\x00"+d.String()`,
		`"rules "+d.String()`, ""},
	{"commit: the responder's half alone is stale", frame,
		`NewMatch(RegIs(RegCommit, 0)), int(TableDeliver))`,
		`NewMatch(RegLacks(RegCommit, 1)), int(TableDeliver))`, ""},

	// Classes: who keeps which epochs.
	{"epochs: those who stay keep them when rules go", classes,
		`if rules.differ || len(left) > 0 {`,
		`if len(left) > 0 {`, ""},
	{"epochs: those who stay keep them when members go", classes,
		`if rules.differ || len(left) > 0 {`,
		`if rules.differ {`, ""},
	{"epochs: only one class of each kind raised", classes,
		`for _, c := range list {
			for d, yes`,
		`for _, c := range list[:1] {
			for d, yes`, ""},
	{"epochs: rules before taken for those after", classes,
		`b.groups(was.groups, true), b`,
		`b.groups(was.groups, false), b`, ""},
	{"epochs: rules after taken for those before", classes,
		`b.groups(now.groups, false)
`,
		`b.groups(now.groups, true)
`, ""},
	{"epochs: the groups a mover had compared", classes,
		`b.groups(now.groups, false)
`,
		`b.groups(was.groups, false)
`, ""},
	{"epochs: carried though something shrank", classes,
		`shrunk == [2]bool{} {`,
		`shrunk != [2]bool{true, true} {`, ""},
	{"epochs: carried though anything shrank", classes,
		`shrunk == [2]bool{} {`,
		`len(shrunk) == 2 {`, ""},
	{"epochs: movers compared with members who stayed", classes,
		`rules.shrinks(m.from.identity(), k.identity(), left)`,
		`rules.shrinks(m.from.identity(), k.identity(), nil)`, ""},
	{"epochs: a mover joins whom it finds", classes,
		`cs.above(k.identity(), m.was)`,
		`cs.above(k.identity(), Epochs{})`, ""},
	{"epochs: the same joined", classes,
		`c.epochs[0] > epochs[0] && c.epochs[1] > epochs[1]`,
		`c.epochs[0] >= epochs[0] && c.epochs[1] >= epochs[1]`, ""},
	{"epochs: higher in one direction joined", classes,
		`c.epochs[0] > epochs[0] && c.epochs[1] > epochs[1]`,
		`c.epochs[0] > epochs[0] || c.epochs[1] > epochs[1]`, ""},
	{"epochs: another owner is the same", classes,
		`same := ch.After != nil && ownerOf(ch.Before) == ownerOf(ch.After)`,
		`same := ch.After != nil`, ""},
	{"epochs: an owner is a MAC", inst,
		`func ownerOf(e *policy.Endpoint) Owner { return Owner{e.MAC, e.Tag} }`,
		`func ownerOf(e *policy.Endpoint) Owner { return Owner{e.MAC, 0} }`, ""},
	{"epochs: another VPC is the same class", classes,
		`if same && from.identity() == newClassKey(ch.After, 0).identity() {`,
		`if same && from.key.groups == newClassKey(ch.After, 0).groups {`, ""},
	{"epochs: the last of a port forgotten", classes,
		`	cs.last[ofport] = c.epochs
`,
		``, ""},
	{"epochs: the floor forgotten", classes,
		`last = Epochs{cs.floor, cs.floor}`,
		`last = Epochs{}`, ""},
	{"epochs: no floor after a restart", classes,
		`in.highest, in.highest, in.mark`,
		`in.highest, 0, in.mark`, ""},
	{"epochs: counted from the start after a restart", classes,
		`in.highest, in.highest, in.mark`,
		`0, in.highest, in.mark`, ""},
	{"epochs: the mark forgotten", classes,
		`cs.generation > highest || cs.mark > cs.generation {`,
		`cs.mark > cs.generation {`, ""},
	{"epochs: the mark is the highest there is", classes,
		`cs.mark = cs.generation
`,
		`cs.mark = highest
`, ""},
	{"epochs: what begins at 1 does not count", classes,
		`cs.generation = max(cs.generation, highest);`,
		`cs.generation += 0;`, ""},
	{"epochs: adopted though the owner differs", classes,
		`if !ok || cs.adopted.owners[e.OFPort] != ownerOf(e) {`,
		`if !ok {`, ""},
	{"epochs: adopted though the rules differ", classes,
		`was.prints[d] != print {`,
		`false && was.prints[d] != print {`, ""},
	{"epochs: a restart makes one class of two", classes,
		`			return cs.at(k, epochs)
`,
		`			return cs.withEpochs(k.identity(), epochs)
`, ""},
	{"epochs: a number that a class does not have", classes,
		`if c.key == k && c.epochs == epochs {`,
		`if c.key == k {`, ""},
	{"epochs: adopted for good", classes,
		`	cs.adopted = installed{}
`,
		``, ""},
	{"epochs: any class of the kind taken", classes,
		`if c.epochs == epochs {`,
		`if len(epochs) == 2 {`, ""},
	{"epochs: half the epochs are enough", classes,
		`if c.epochs == epochs {`,
		`if c.epochs[0] == epochs[0] {`, ""},
	{"epochs: not raised", classes,
		`			cs.generation++
`,
		`			cs.generation += 0
`, ""},
	{"epochs: raised once for all", classes,
		`	cs.raised, cs.wrapped = false, false
	clear(cs.changed)
	// Those`,
		`	cs.wrapped = false
	clear(cs.changed)
	// Those`, ""},
	{"epochs: raised once for all who refer", classes,
		`	cs.raised, cs.wrapped = false, false
	clear(cs.changed)
	for _, list`,
		`	cs.wrapped = false
	clear(cs.changed)
	for _, list`, ""},
	{"epochs: those who refer in the other direction raised", classes,
		`if len(g.refs[d]) > 0 {`,
		`if len(g.refs[1-d]) > 0 {`, ""},
	{"epochs: an empty class stays", classes,
		`func(o *class) bool { return o == c })`,
		`func(o *class) bool { return false })`, ""},
	{"epochs: one that ends goes unnoticed", classes,
		`	cs.changed[c] = true
	id := c.identity()`,
		`	id := c.identity()`, ""},
	{"epochs: one that begins goes unnoticed", classes,
		`	cs.changed[c] = true
	return c`,
		`	return c`, ""},
	{"epochs: one that is raised goes unnoticed", classes,
		`					c.epochs[d] = cs.raise()
					cs.changed[c] = true
				}
			}
		}
	}
}

// raiseReferring`,
		`					c.epochs[d] = cs.raise()
				}
			}
		}
	}
}

// raiseReferring`, ""},
	{"wrap: not noticed", classes,
		`if cs.generation == MaxEpoch {`,
		`if cs.generation == MaxEpoch && cs.raised == false {`, ""},
	{"wrap: not said", classes,
		`			cs.wrapped = true
`,
		`			cs.restart()
`, ""},
	{"wrap: not begun anew", classes,
		`	if cs.wrapped {
		cs.restart()`,
		`	if cs.wrapped {
		cs.generation = 0`, ""},
	{"wrap: ones stay ones", classes,
		`c.epochs[d] = 1 + c.epochs[d]%2`,
		`c.epochs[d] = 1`, ""},
	{"wrap: counted from the end", classes,
		`cs.floor, cs.generation = 0, 2`,
		`cs.floor = 0`, ""},
	{"wrap: counted from one", classes,
		`cs.floor, cs.generation = 0, 2`,
		`cs.floor, cs.generation = 0, 0`, "whoever made them begin anew has 2"},
	{"wrap: classes go unnoticed", classes,
		`			cs.changed[c] = true
		}
	}
	clear(cs.last)`,
		`		}
	}
	clear(cs.last)`, ""},
	{"restart: the mark does not count", inst,
		`			in.highest = max(in.highest, in.mark)
`,
		``, ""},
	{"restart: epochs of one direction count", inst,
		`max(in.highest, c.epochs[0], c.epochs[1])`,
		`max(in.highest, c.epochs[0])`, ""},
	{"restart: epochs of the wrong half", inst,
		`label.RespEpoch, f`,
		`label.OrigEpoch, f`, ""},
	{"restart: members who moved", inst,
		`ok && now.Actions == f.Actions {`,
		`ok && len(now.Actions.String()) > 0 {`, ""},
	{"restart: members of the other side", inst,
		`if f.Table == TableEgressRemote {`,
		`if f.Table != TableEgressRemote {`, ""},
	{"restart: members of one side", inst,
		`			ingress = true
`,
		`			ingress = ingress || egress
`, ""},
}
