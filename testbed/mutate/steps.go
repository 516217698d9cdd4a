package main

// inSteps are mistakes in following changes.
var inSteps = []mutation{
	// Steps: the compiler.
	{"step: who stays a member has not left another group", compiler,
		`if m.After == nil || !slices.Contains(m.After.Groups, g) {`,
		`if m.After == nil {`, ""},
	{"step: who is gone has not left", compiler,
		`if m.After == nil || !slices.Contains(m.After.Groups, g) {`,
		`if m.After != nil && !slices.Contains(m.After.Groups, g) {`, ""},
	{"step: endpoints stay", compiler,
		`			delete(c.endpoints, e.Before.OFPort)
`,
		``, ""},
	{"step: groups stay", compiler,
		`			delete(c.groups, g.Before.ID)
`,
		``, ""},
	{"step: groups as they were forgotten", compiler,
		`r.book.was[g.Before.ID] = c.groups[g.Before.ID]`,
		`r.book.was[g.Before.ID] = nil`, ""},
	{"step: rules do not differ", compiler,
		`		r.book.differ = true
`,
		``, ""},
	{"step: members stay", compiler,
		`				c.members.remove(m.Before)
`,
		``, ""},
	{"step: members gone forgotten", compiler,
		`				r.gone = append(r.gone, was)
`,
		``, ""},
	{"step: whoever joins is forgotten", compiler,
		`m.After != nil && len(m.After.Groups) > 0 {`,
		`m.After != nil && m.Before != nil && len(m.After.Groups) > 0 {`, ""},
	{"step: another datapath", compiler,
		`if c.inc == nil || wasUserspace != host.Userspace {`,
		`if c.inc == nil || !wasUserspace && wasUserspace {`, ""},
	{"step: sets of members kept from before", compiler,
		`m.sets = [2]*numbered{}`,
		`m.sets[0] = nil`, ""},
	{"step: those who refer are not raised", compiler,
		`	c.classes.raiseReferring(d, c.groups)
`,
		``, ""},
	{"step: flows known after raising", compiler,
		`	c.classes.raiseReferring(d, c.groups)
	c.inc = nil
`,
		`	c.classes.raiseReferring(d, c.groups)
`, ""},

	// Steps: what comes from members.
	{"members: flows of the gone stay", inc,
		`	for _, m := range gone {
		leave(m)
	}
`,
		``, ""},
	{"members: flows as they were stay", inc,
		`		flow(&u.olds, m)
		if set`,
		`		if set`, ""},
	{"members: sets never end", inc,
		`came = sets.drop(set) || came`,
		`_ = set`, ""},
	{"members: a set that ends goes unnoticed", inc,
		`came = sets.drop(set) || came`,
		`sets.drop(set)`, ""},
	{"members: a set that begins goes unnoticed", inc,
		`came = came || began`,
		`came = came || began && false`, ""},
	{"members: groups not compiled again", inc,
		`if u.members(s, r.gone, dirty) {`,
		`if u.members(s, r.gone, dirty) && len(c.groups) == 0 {`, ""},
	{"members: groups of the other direction compiled again", inc,
		`				if len(g.refs[s.Direction]) > 0 {
					ruled[s.Direction][id] = true`,
		`				if len(g.refs[s.Direction]) > 0 {
					ruled[1-s.Direction][id] = true`, ""},
	{"members: references of both directions", inc,
		`if u.refs[s.Direction][groupInVPC{m.VPC, g}] > 0 {`,
		`if u.refs[0][groupInVPC{m.VPC, g}]+u.refs[1][groupInVPC{m.VPC, g}] > 0 {`, ""},
	{"members: sets not in use count", inc,
		`if set.uses > 0 {`,
		`if set.uses >= 0 {`, ""},
	{"members: references counted too often", inc,
		`u.refs[d][at]++`,
		`u.refs[d][at] += 2`, ""},
	{"members: references never dropped", inc,
		`if u.refs[d][at]--; u.refs[d][at] == 0 {`,
		`if u.refs[d][at] += 0; u.refs[d][at] == 0 {`, ""},
	{"members: references of a class that ends", inc,
		`			u.unrefer(unit)
			came = true`,
		`			came = true`, ""},
	{"members: references of other rules", inc,
		`				u.unrefer(unit)
				u.refer(unit, k, c.groups)
`,
		`				u.unrefer(unit)
`, ""},
	{"members: references of rules before", inc,
		`				u.unrefer(unit)
				u.refer(unit, k, c.groups)
`,
		`				u.refer(unit, k, c.groups)
`, ""},
	{"members: nobody refers any more", inc,
		`for at := range before[d] {
			if u.refs[d][at] == 0 {`,
		`for at := range before[d] {
			if u.refs[d][at] < 0 {`, ""},
	{"members: somebody refers now", inc,
		`if before[d][at] == 0 {`,
		`if before[d][at] < 0 {`, ""},
	{"members: references before not kept", inc,
		`before = u.refsCopy()`,
		`before = u.refs`, ""},
	{"members: flows like those of another VPC", inc,
		`k := memberMatch{m.VPC, m.Addr.Is6()}`,
		`k := memberMatch{"", m.Addr.Is6()}`, ""},
	{"members: flows like those of the other family", inc,
		`k := memberMatch{m.VPC, m.Addr.Is6()}`,
		`k := memberMatch{m.VPC, false}`, ""},

	// Steps: what comes from classes and rules.
	{"rules: not compiled again when classes come or go", inc,
		`if u.number(c, changed, touched) {`,
		`if u.number(c, changed, touched) && len(c.groups) == 0 {`, ""},
	{"rules: not compiled again when a class ends", inc,
		`			u.unrefer(unit)
			came = true`,
		`			u.unrefer(unit)`, ""},
	{"rules: not compiled again when a class begins", inc,
		`			u.refer(unit, k, c.groups)
			came = true`,
		`			u.refer(unit, k, c.groups)`, ""},
	{"rules: flows of a class that ended", inc,
		`			u.replace(&unit.flows, nil)
`,
		``, ""},
	{"rules: flows of a class when rules change", inc,
		`if !changed[k] && !slices.ContainsFunc(k.key.ids(), func(id string) bool { return touched[id] }) {`,
		`if !changed[k] {`, ""},
	{"rules: classes that ended count", inc,
		`for k, unit := range u.classes {
			if k.ports > 0 {`,
		`for k, unit := range u.classes {
			if k.ports >= 0 {`, ""},
	{"rules: the other group's plain flow wins", rul,
		`keysOf(p.by)[0]`,
		`keysOf(p.by)[len(p.by)-1]`, ""},
	{"rules: the last rule's plain flow wins", rul,
		`; !same { // the`,
		`; !same || len(id) > 0 { // the`, ""},
	{"rules: plain flows stay", rul,
		`			delete(table.plain[f.Match].by, id)
`,
		``, ""},
	{"rules: plain flows of the gone stay", rul,
		`		u.replace(&p.flow, nil)
`,
		``, ""},
	{"rules: clause entries stay", rul,
		`			count[e]--
`,
		`			count[e] += 0
`, ""},
	{"rules: clauses without entries stay", rul,
		`delete(cl.of, e.Conjunction)`,
		`_ = e.Conjunction`, ""},
	{"rules: conjunctions stay", rul,
		`u.replace(&old.flows, now.flows)`,
		`u.news = append(u.news, now.flows...)`, ""},
	{"rules: clauses of both directions in one table", rul,
		`table := &u.tables[s.Direction]`,
		`table := &u.tables[0]`, ""},
	{"rules: a crowded clause goes unnoticed", rul,
		`u.spoilt || len(cl.of) > maxConjunctions`,
		`u.spoilt`, ""},
	{"rules: the cookie of the last of two rules", rule,
		`|| seen[g.keys[i]] {`,
		`|| seen[g.ID] {`, ""},
	{"service: not updated", rul,
		`if unit.count(c, protocol, touched) {`,
		`if unit.count(c, protocol, touched) && len(unit.flows) == 0 {`, ""},
	{"service: ports that come go unnoticed", rul,
		`was != (unit.uses[r] > 0)`,
		`was && unit.uses[r] == 0`, ""},
	{"service: ports that go go unnoticed", rul,
		`was != (unit.uses[r] > 0)`,
		`!was && unit.uses[r] > 0`, ""},
	{"service: ports never go", rul,
		`add(r, -1)`,
		`add(r, 0)`, ""},
	{"service: blocks stay", rul,
		`			u.olds = append(u.olds, f)
`,
		`			_ = f
`, ""},
	{"service: UDP not updated", rul,
		`[]policy.Protocol{policy.TCP, policy.UDP}`,
		`[]policy.Protocol{policy.TCP, policy.TCP}`, ""},
	{"numbers: a collision goes unnoticed", num,
		`if x.number == 0 || n.byNumber[x.number] != nil {`,
		`if x.number == 0 {`, ""},
	{"numbers: a zero goes unnoticed", num,
		`if x.number == 0 || n.byNumber[x.number] != nil {`,
		`if n.byNumber[x.number] != nil {`, ""},
	{"numbers: a spoilt numbering goes unnoticed", inc,
		`		u.spoilt = u.spoilt || n.spoilt
`,
		``, ""},
	{"numbers: a spoilt numbering of classes goes unnoticed", inc,
		`[]*numbering{u.class, u.vpc`,
		`[]*numbering{u.vpc`, ""},
	{"numbers: a spoilt numbering of VPCs goes unnoticed", inc,
		`[]*numbering{u.class, u.vpc, `,
		`[]*numbering{u.class, `, ""},
	{"numbers: freed though in use again", num,
		`if x.uses == 0 && n.byKey`,
		`if n.byKey`, ""},
	{"numbers: none ever ends", num,
		`if x.uses--; x.uses > 0 {`,
		`if x.uses--; x.uses >= 0 {`, ""},

	// Steps: what comes from ports and the host.
	{"ports: flows stay", inc,
		`place = u.ports[e.Before.OFPort]`,
		`place = nil`, ""},
	{"ports: still in the list of its network", inc,
		`func(p uint16) bool { return p == e.Before.OFPort })`,
		`func(p uint16) bool { return false })`, ""},
	{"ports: not in the list of a network", inc,
		`vlans[e.After.Tag] = true`,
		`if e.Before == nil {
				vlans[e.After.Tag] = true
			}`, ""},
	{"ports: the list of a network it left", inc,
		`vlans[e.Before.Tag] = true`,
		`_ = vlans`, ""},
	{"ports: the list of a network without ports", inc,
		`		u.replace(&place, now)
		u.floods[vlan] = place`,
		`		if now != nil {
			u.replace(&place, now)
		}
		u.floods[vlan] = place`, ""},
	{"host: other infrastructure", inc,
		`if first || !slices.EqualFunc(c.host.Infra, u.infra, InfraPort.equal) {`,
		`if first {`, ""},
	{"host: other trunks", comp,
		`p.Native == o.Native && slices.Equal(p.Trunks, o.Trunks)`,
		`p.Native == o.Native`, ""},
	{"host: flows of infrastructure stay", inc,
		`u.replace(&u.trunks, now)`,
		`u.trunks, u.news = now, append(u.news, now...)`, ""},
	{"frame: the mark not updated", inc,
		`f.Priority == 0 && f.Cookie == mark })`,
		`f.Priority == 0 && mark != 0 })`, ""},
	{"delta: flows that change", inc,
		`case was != f:`,
		`case was.Actions != f.Actions:`, ""},

	// Rules: plain or not.
	{"plain: families contradict each other", rule,
		`if !contradict(ts, more) {`,
		`if len(more) > 0 {`, ""},
	{"plain: however many", rule,
		`product*len(d), sum+len(d)`,
		`max(product, len(d)), sum+len(d)`, ""},
	{"plain: never", rule,
		`if product <= min(sum, maxPlain) {`,
		`if product == 0 {`, ""},
	{"plain: without the last dimension", rule,
		`for _, d := range dims {
			var longer`,
		`for _, d := range dims[:len(dims)-1] {
			var longer`, ""},
	{"plain: without the first dimension", rule,
		`for _, d := range dims {
			var longer`,
		`for _, d := range dims[1:] {
			var longer`, ""},
	{"plain: terms shared", rule,
		`append(ts[:len(ts):len(ts)], more...)`,
		`append(ts, more...)`, "as things are, append leaves no room to share"},
	{"plain: only the last combinations", rule,
		`longer = append(longer, append(`,
		`longer = append(longer[:0], append(`, ""},

	// What two changes make together.
	{"then: what the first found forgotten", then,
		`Change[T]{first[0].Before, second[0].After}`,
		`Change[T]{second[0].Before, second[0].After}`, ""},
	{"then: what the second leaves forgotten", then,
		`Change[T]{first[0].Before, second[0].After}`,
		`Change[T]{first[0].Before, first[0].After}`, ""},
	{"then: the rest of the first forgotten", then,
		`append(append(out, first...), second...)`,
		`append(out, second...)`, ""},
	{"then: members of another VPC are the same", then,
		`cmp.Or(cmp.Compare(a.VPC, b.VPC), a.Addr.Compare(b.Addr))`,
		`cmp.Or(a.Addr.Compare(b.Addr))`, ""},
}
