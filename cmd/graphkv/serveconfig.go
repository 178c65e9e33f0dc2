// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting of the server is a flag. The environment and a YAML file set the same ones by the same names, so there is one list of them, one
// kind of value, and one place that says what is wrong with a value. A flag takes precedence over the environment, that over the file.

// variablePrefix begins the name of a setting in the environment: --max-queue is GRAPHKV_MAX_QUEUE.
const variablePrefix = "GRAPHKV_"

func variable(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagGroup is a part of --help.
type flagGroup struct {
	title string
	names []string
}

// once are flags that say what a run is to do rather than how the server is: a file does not have them.
var once = map[string]bool{"config": true, "print-config": true, "probe": true, "help": true}

// configure sets flags that the command line leaves out from the environment, and what that leaves out from a file. It returns where the settings come from
// that are not at their default.
func configure(flags *pflag.FlagSet, lookup func(string) (string, bool), file string) (map[string]string, error) {
	from := make(map[string]string)
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			from[f.Name] = "flag"
			return
		}
		value, ok := lookup(variable(f.Name))
		if !ok || once[f.Name] {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", variable(f.Name), reason(err)))
		}
		from[f.Name] = variable(f.Name)
	})
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		errs = append(errs, configureFrom(flags, text, file, from))
	}
	return from, errors.Join(errs...)
}

// configureFrom sets flags from the text of a file. All that is wrong is said at once.
func configureFrom(flags *pflag.FlagSet, text []byte, file string, from map[string]string) error {
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // an empty file
	} else if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one document", file)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s, line %d: want settings, such as: listen: 127.0.0.1:8080", file, root.Line)
	}
	var errs []error
	seen := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if err := setFrom(flags, key, value, seen, from); err != nil {
			errs = append(errs, fmt.Errorf("%s, line %d: %w", file, key.Line, err))
			continue
		}
		if from[key.Value] == "" {
			from[key.Value] = fmt.Sprintf("%s, line %d", file, key.Line)
		}
	}
	return errors.Join(errs...)
}

// setFrom sets one flag from a line of a file, unless something with precedence has.
func setFrom(flags *pflag.FlagSet, key, value *yaml.Node, seen map[string]int, from map[string]string) error {
	f := flags.Lookup(key.Value)
	switch {
	case f == nil || once[f.Name]:
		if near := strings.ReplaceAll(strings.ToLower(key.Value), "_", "-"); near != key.Value && flags.Lookup(near) != nil {
			return fmt.Errorf("there is no setting %q; there is %s", key.Value, near)
		}
		return fmt.Errorf("there is no setting %q", key.Value)
	case seen[f.Name] != 0:
		return fmt.Errorf("%s is set in line %d already", f.Name, seen[f.Name])
	case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
		return fmt.Errorf("%s wants one value", f.Name)
	}
	seen[f.Name] = key.Line
	if from[f.Name] != "" {
		return nil
	}
	if err := flags.Set(f.Name, value.Value); err != nil {
		return fmt.Errorf("%s: %w", f.Name, reason(err))
	}
	return nil
}

// reason drops pflag's talk of arguments and flags, which a file does not have.
func reason(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("%q: %w", invalid.GetValue(), invalid.Unwrap())
	}
	return err
}

// printConfig writes the settings as a file that says the same, and in comments where each comes from. Passwords are left out.
func printConfig(w io.Writer, flags *pflag.FlagSet, groups []flagGroup, from map[string]string) error {
	var b bytes.Buffer
	for _, g := range groups {
		title := "\n# " + g.title + "\n"
		for _, name := range g.names {
			if once[name] {
				continue
			}
			b.WriteString(title)
			title = ""
			where := from[name]
			if where == "" {
				where = "default"
			}
			value, set := printed(flags.Lookup(name))
			if !set {
				fmt.Fprintf(&b, "# %s:\n", name)
				continue
			}
			fmt.Fprintf(&b, "%-48s # %s\n", name+": "+value, where)
		}
	}
	_, err := w.Write(bytes.TrimPrefix(b.Bytes(), []byte("\n")))
	return err
}

// printed returns a flag's value as YAML; set is false if it has none.
func printed(f *pflag.Flag) (value string, set bool) {
	if s, ok := f.Value.(*size); ok {
		return strconv.FormatInt(int64(*s), 10), *s != 0
	}
	value = f.Value.String()
	if f.Value.Type() != "string" {
		return value, true
	}
	text, err := yaml.Marshal(withoutPassword(value))
	if err != nil {
		return strconv.Quote(withoutPassword(value)), true
	}
	return strings.TrimSpace(string(text)), value != ""
}

// withoutPassword hides the password of a URL.
func withoutPassword(value string) string {
	if u, err := url.Parse(value); err == nil {
		q := u.Query()
		for name := range q {
			if strings.Contains(name, "password") { // of Redis' Sentinels
				q.Set(name, "xxxxx")
				u.RawQuery = q.Encode()
			}
		}
		return u.Redacted()
	}
	if strings.Contains(value, "@") {
		return "not a URL, and not printed"
	}
	return value
}

// groupedUsage is --help with the flags in groups.
func groupedUsage(groups []flagGroup) func(*cobra.Command) error {
	return func(cmd *cobra.Command) error {
		w := cmd.OutOrStderr()
		fmt.Fprintf(w, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
		for _, g := range groups {
			set := pflag.NewFlagSet("", pflag.ContinueOnError)
			set.SortFlags = false
			for _, name := range g.names {
				set.AddFlag(cmd.Flags().Lookup(name))
			}
			fmt.Fprintf(w, "\n%s:\n%s", g.title, set.FlagUsagesWrapped(110))
		}
		return nil
	}
}
