// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

// pictured are the presets over segments of 8, 16 and 6 tokens, prefix 4 and query 6.
func pictured(t testing.TB) map[string]*posenc.Layout {
	const prefix, query = 4, 6
	segments := []int{8, 16, 6}
	out := map[string]*posenc.Layout{}
	add := func(name string) func(*posenc.Layout, error) {
		return func(l *posenc.Layout, err error) {
			require.NoError(t, err)
			out[name] = l
		}
	}
	add("sequential")(posenc.Sequential(prefix, segments, query))
	add("block")(posenc.Block(prefix, segments, query))
	add("pcw")(posenc.PCW(prefix, segments, query))
	add("graphkv")(posenc.GraphKV(prefix, segments, query))
	add("graphkv-topk1")(posenc.GraphKVTopK(prefix, segments, query, 1))
	add("ego")(posenc.Ego(prefix, segments, 1, query))
	add("ego-batch")(posenc.EgoBatch(prefix, []int{8, 16, 6, 4}, []posenc.EgoGraph{{Center: 1, Neighbours: []int{0}}, {Center: 3, Neighbours: []int{2}}}, query))
	b := graph.NewBuilder()
	for _, id := range []string{"a", "b", "c"} {
		_, err := b.AddSegment(graph.Segment{ID: id})
		require.NoError(t, err)
	}
	require.NoError(t, b.AddEdge("a", "c"))
	require.NoError(t, b.AddEdge("c", "b"))
	g, err := b.Build()
	require.NoError(t, err)
	add("dag")(posenc.DAG(prefix, segments, g, posenc.DAGOptions{}, query))
	add("dag, one round, b visible")(posenc.DAG(prefix, segments, g, posenc.DAGOptions{Rounds: 1, Visible: []int{1}}, query))
	return out
}

func short(l *posenc.Layout) func(int) string {
	return func(i int) string {
		n := l.Node(i)
		if n.Kind != posenc.SegmentNode {
			return n.Kind.String()[:1]
		}
		return string(rune('A'+n.Segment)) + strings.Repeat("'", n.Round)
	}
}

// The file holds the pictures that were checked by eye against the table of presets: "== name", then the picture.
func TestPictureOfEveryPreset(t *testing.T) {
	raw, err := os.ReadFile("testdata/pictures.txt")
	require.NoError(t, err)
	layouts := pictured(t)
	sections := strings.Split(string(raw), "== ")[1:]
	require.Len(t, sections, len(layouts))
	for _, section := range sections {
		name, want, _ := strings.Cut(section, "\n")
		require.Contains(t, layouts, name)
		m, err := New(layouts[name], 4)
		require.NoError(t, err)
		assert.Equal(t, want, m.Picture(80, short(layouts[name])), name)
	}
}

// A character of a scaled picture stands for a square of characters of the picture in full size.
func TestPictureIsScaledDown(t *testing.T) {
	for name, l := range pictured(t) {
		m, err := New(l, 3)
		require.NoError(t, err)
		fine := strings.Split(m.Picture(m.Side(), nil), "\n")
		require.Len(t, fine, m.Side()+1)
		for _, width := range []int{m.Side() - 1, 7, 3, 1, 0} {
			scale := (m.Side() + max(width, 1) - 1) / max(width, 1)
			var want strings.Builder
			for i := 0; i < m.Side(); i += scale {
				for j := 0; j < m.Side(); j += scale {
					kinds := ""
					for _, row := range fine[i:min(i+scale, m.Side())] {
						kinds += row[j:min(j+scale, m.Side())]
					}
					switch {
					case strings.Trim(kinds, "#") == "":
						want.WriteByte('#')
					case strings.Trim(kinds, ".") == "":
						want.WriteByte('.')
					default:
						want.WriteByte('+')
					}
				}
				want.WriteByte('\n')
			}
			assert.Equal(t, want.String(), m.Picture(width, nil), "%s at width %d", name, width)
		}
	}
}

func TestPictureLabels(t *testing.T) {
	m, err := New(layoutOf(t, []int{2, 2, 5, 1}, [2]int{2, 0}, [2]int{3, 2}), 4)
	require.NoError(t, err)
	names := []string{"α", "b", "long", "q"}
	assert.Equal(t, "α b  +..\nlong ++.\nq    +#+\n", m.Picture(80, func(i int) string { return names[i] }))
	assert.Equal(t, "α b long +.\nq        ++\n", m.Picture(2, func(i int) string { return names[i] }))
}

func TestString(t *testing.T) {
	m, err := New(layoutOf(t, []int{4, 5}, [2]int{1, 0}), 4)
	require.NoError(t, err)
	assert.Equal(t, "9 tokens in 2 nodes, 3×3 blocks of 4: 4 full, 2 partial, density 0.5556", m.String())
}
