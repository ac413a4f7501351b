package cgrouppolicy

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// maps are what the programs with rules share with this process.
type maps struct {
	// rules has one map, with a table of rows. Replacing that map replaces all
	// rules at once.
	rules   *ebpf.Map
	groups  *ebpf.Map // a Membership by groupKey
	sockets *ebpf.Map // what each socket stores
}

// maxGroups is how many groups there can be, twice as a reload has them.
const maxGroups = 1 << 17

func mapSpecs() map[string]*ebpf.MapSpec {
	u32 := &btf.Int{Name: "u32", Size: word}
	words := &btf.Array{Index: u32, Type: u32, Nelems: uint32(storedSize / word)}
	return map[string]*ebpf.MapSpec{
		"rules":  {Name: "keepalive_rules", Type: ebpf.ArrayOfMaps, KeySize: word, ValueSize: word, MaxEntries: 1, InnerMap: tableSpec()},
		"groups": {Name: "keepalive_group", Type: ebpf.Hash, KeySize: 16, ValueSize: memberRows + MaxRows/8, MaxEntries: maxGroups, Flags: unix.BPF_F_NO_PREALLOC},
		"sockets": {
			Name: "keepalive_sock", Type: ebpf.SkStorage, KeySize: word, ValueSize: uint32(storedSize), Flags: unix.BPF_F_NO_PREALLOC,
			Key:   &btf.Int{Name: "int", Size: word, Encoding: btf.Signed},
			Value: &btf.Struct{Name: "stored", Size: uint32(storedSize), Members: []btf.Member{{Name: "words", Type: words}}},
		},
	}
}

func tableSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "keepalive_table", Type: ebpf.Array, KeySize: word, ValueSize: uint32(tableSize), MaxEntries: 1}
}

// A namedMap is one of the maps.
type namedMap struct {
	name string
	to   **ebpf.Map
}

func (m *maps) named() []namedMap {
	return []namedMap{{"rules", &m.rules}, {"groups", &m.groups}, {"sockets", &m.sockets}}
}

func newMaps() (*maps, error) {
	m, specs := new(maps), mapSpecs()
	for _, each := range m.named() {
		made, err := ebpf.NewMap(specs[each.name])
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		*each.to = made
	}
	return m, nil
}

// Close closes the maps. Programs that are attached keep theirs.
func (m *maps) Close() error {
	return errors.Join(m.rules.Close(), m.groups.Close(), m.sockets.Close())
}

// lookUpTable loads the table of rows into R0. Without one it goes on at missing.
func (m *maps) lookUpTable(missing string) asm.Instructions {
	key := asm.Instructions{asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, scratch)}
	p := asm.Instructions{
		asm.StoreImm(asm.RFP, scratch, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, m.rules.FD()),
	}
	p = append(p, key...)
	p = append(p,
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, missing),
		asm.Mov.Reg(asm.R1, asm.R0),
	)
	p = append(p, key...)
	return append(p,
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, missing),
	)
}

// lookUpGroup loads the Membership of the group whose id is in the key, or else that
// of unknown groups, into R0. The table is in R0 before. Without one it goes on at
// exit.
func (m *maps) lookUpGroup() asm.Instructions {
	lookUp := asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.groups.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, mapKey),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "known"),
	}
	p := asm.Instructions{
		asm.LoadMem(asm.R1, asm.R0, tableGeneration, asm.Word),
		asm.StoreMem(asm.RFP, mapKey+8, asm.R1, asm.Word),
		asm.StoreImm(asm.RFP, mapKey+12, 0, asm.Word),
	}
	p = append(p, lookUp...)
	p = append(p, asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, mapKey, asm.R1, asm.DWord))
	p = append(p, lookUp...)
	return append(p, asm.Ja.Label("exit"), asm.Mov.Reg(asm.R0, asm.R0).WithSymbol("known"))
}

// stored loads what a socket stores into R0, or null.
func (m *maps) stored(sock asm.Register, create bool) asm.Instructions {
	flags := int32(0)
	if create {
		flags = unix.BPF_SK_STORAGE_GET_F_CREATE
	}
	return asm.Instructions{
		asm.Mov.Reg(asm.R2, sock),
		asm.LoadMapPtr(asm.R1, m.sockets.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, flags),
		asm.FnSkStorageGet.Call(),
	}
}
