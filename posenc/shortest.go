// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import "github.com/graphkv/graphkv/graph"

// ShortestPaths returns the number of edges on the shortest path from a source to its reader, and −1 where that is more than
// limit or where there is no path. A path follows the edges; for distances in the undirected graph, as Graphormer takes
// them, pass [graph.Graph.Symmetric]. The segments are those of the graph: ends outside of it cannot be reached.
//
// A breadth-first search goes backwards from a reader, only as far as the sources that are asked for, and is kept until
// another reader comes. The function may be used by one goroutine at a time.
func ShortestPaths(g *graph.Graph, limit int) Distance {
	s := &search{g: g, limit: limit, reader: -1, distance: make([]int32, g.Len())}
	return s.at
}

// search is a breadth-first search that can be stopped and resumed.
type search struct {
	g        *graph.Graph
	limit    int
	reader   int
	distance []int32  // 1 + the distance of a segment; 0: not met
	queue    []uint32 // segments met, in order; before next they are followed
	next     int
}

func (s *search) at(reader, source int) int {
	if n := len(s.distance); uint(reader) >= uint(n) || uint(source) >= uint(n) {
		return -1
	}
	if reader != s.reader {
		for _, i := range s.queue {
			s.distance[i] = 0
		}
		s.reader, s.next = reader, 0
		s.queue = append(s.queue[:0], uint32(reader))
		s.distance[reader] = 1
	}
	for ; s.distance[source] == 0 && s.next < len(s.queue); s.next++ {
		i := s.queue[s.next]
		if int(s.distance[i]) > s.limit {
			break // it and all that follow are at the limit
		}
		for _, j := range s.g.Sources(int(i)) {
			if s.distance[j] == 0 {
				s.distance[j] = s.distance[i] + 1
				s.queue = append(s.queue, j)
			}
		}
	}
	if d := int(s.distance[source]) - 1; d <= s.limit {
		return d
	}
	return -1
}
