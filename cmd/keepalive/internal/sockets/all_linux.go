package sockets

import (
	"iter"
	"runtime"
	"sync"
)

// batchSize is how many sockets are read ahead at once, for each processor.
const batchSize = 256

// All yields the TCP sockets in the order of their processes. They are read on
// all processors and are closed again: neither Get nor Apply works on them. The
// Socket is the caller's.
func (f *Found) All() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		var workers sync.WaitGroup
		defer workers.Wait()
		stop := make(chan struct{})
		defer close(stop)
		batches := make([]chan []Socket, runtime.GOMAXPROCS(0))
		for i := range batches {
			batches[i] = make(chan []Socket)
			workers.Go(func() { f.readBatches(i, len(batches), batches[i], stop) })
		}
		for i := 0; i*batchSize < len(f.sockets); i++ {
			batch := <-batches[i%len(batches)]
			for j := range batch {
				if !yield(&batch[j]) {
					return
				}
			}
		}
	}
}

// readBatches sends every step'th batch.
func (f *Found) readBatches(first, step int, to chan<- []Socket, stop <-chan struct{}) {
	r := f.NewReader()
	defer r.Close()
	for i := first * batchSize; i < len(f.sockets); i += step * batchSize {
		batch := make([]Socket, 0, batchSize)
		for j := i; j < min(i+batchSize, len(f.sockets)); j++ {
			r.Read(j, func(s *Socket) { batch = append(batch, *s) })
		}
		select {
		case to <- batch:
		case <-stop:
			return
		}
	}
}
