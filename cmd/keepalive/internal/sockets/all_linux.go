package sockets

import (
	"iter"
	"runtime"
	"slices"
	"sync"
)

// batchSize is how many sockets are read ahead at once, for each processor.
const batchSize = 256

// All yields the TCP sockets that one of the wanted processes holds, in the order
// of their processes. The others are left alone. Neither Get nor Apply works on
// them. A Socket is valid until the next one: Clone it to keep it.
func (f *Found) All(wanted func(Process) bool) iter.Seq[*Socket] { return f.read(wanted, false) }

// Suspects yields what All does, but may leave out sockets whose peer is not
// suspect. It takes less time.
func (f *Found) Suspects(wanted func(Process) bool) iter.Seq[*Socket] { return f.read(wanted, true) }

func (f *Found) read(wanted func(Process) bool, suspects bool) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		isWanted := make([]bool, len(f.tables))
		for i, t := range f.tables {
			isWanted[i] = wanted(t.Process)
		}
		f.source.read(f, isWanted, suspects, yield)
	}
}

// read implements [source]. It reads on all processors.
func (descriptors) read(f *Found, wanted []bool, _ bool, yield func(*Socket) bool) {
	indexes := f.heldBy(func(refs []ref) bool { return isHeld(refs, wanted) })
	var workers sync.WaitGroup
	defer workers.Wait()
	stop := make(chan struct{})
	defer close(stop)
	batches := make([]chan []Socket, runtime.GOMAXPROCS(0))
	for i := range batches {
		batches[i] = make(chan []Socket)
		workers.Go(func() { f.readBatches(indexes, i, len(batches), batches[i], stop) })
	}
	for i := 0; i*batchSize < len(indexes); i++ {
		batch := <-batches[i%len(batches)]
		for j := range batch {
			if !yield(&batch[j]) {
				return
			}
		}
	}
}

// heldBy returns the indexes of the sockets whose descriptors meet a condition, in
// the order of the tables.
func (f *Found) heldBy(condition func([]ref) bool) (indexes []int32) {
	for i := 0; i < len(f.refs); {
		end := i + 1
		for end < len(f.refs) && f.refs[end].inode == f.refs[i].inode {
			end++
		}
		if condition(f.refs[i:end]) {
			indexes = append(indexes, int32(i))
		}
		i = end
	}
	slices.SortFunc(indexes, func(a, b int32) int { return compareHolders(f.refs[a], f.refs[b]) })
	return indexes
}

// readBatches sends every step'th batch.
func (f *Found) readBatches(indexes []int32, first, step int, to chan<- []Socket, stop <-chan struct{}) {
	r := f.NewReader()
	r.cached = true
	defer r.Close()
	for i := first * batchSize; i < len(indexes); i += step * batchSize {
		batch := make([]Socket, 0, batchSize)
		for _, index := range indexes[i:min(i+batchSize, len(indexes))] {
			r.Read(int(index), func(s *Socket) { batch = append(batch, *s) })
		}
		select {
		case to <- batch:
		case <-stop:
			return
		}
	}
}
