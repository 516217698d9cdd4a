// Package pipeline makes the flows of each OpenFlow table.
//
// There is one file for each table, or for the two tables of egress and ingress
// that do the same, and no other code makes flows of that table. The way of a
// packet through the tables, with the number of each table and its file:
//
//	 0 classify ─ 1 spoof_guard ─ 2 dispatch ─ 3 track ─ 4 role ─┐
//	       │             │             │           │         │    │
//	    (deny)        (deny)           └─ flood    │      (deny)  │
//	                                       │       │              │
//	                                     copy ─────┘              │
//	   ┌──────────────────────────────────────────────────────────┘
//	 5 egress_est  ─ 6 egress_epoch  ─ 7 egress_remote  ─ 8 egress_rules  ─ (deny)
//	   │                   │                                  │
//	 9 ingress_est ─ 10 ingress_epoch ─ 11 ingress_remote ─ 12 ingress_rules ─ (deny)
//	   │                   │                                  │
//	13 commit ─ 14 deliver ─ (flood)
//
//	table   name                          file
//	 0      classify                      classify.go
//	 1      spoof_guard                   spoof_guard.go
//	 2      dispatch                      dispatch.go
//	 3      track                         track.go
//	 4      role                          role.go
//	 5, 9   egress_est, ingress_est       est.go
//	 6, 10  egress_epoch, ingress_epoch   epoch.go
//	 7, 11  egress_remote, ingress_remote remote.go
//	 8, 12  egress_rules, ingress_rules   rules.go
//	13      commit                        commit.go
//	14      deliver                       deliver.go
//	15      flood                         flood.go
//	16      deny                          deny.go
//	17      copy                          copy.go
//	18      service                       service.go
//
// The priorities of all tables are in priorities.go. Ingress is towards the VM
// and egress from the VM, never relative to the bridge. docs/pipeline.md walks
// through the tables with real dumps.
package pipeline
