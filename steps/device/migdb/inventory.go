package migdb

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// passwords is the variable that the secrets file holds, by host.
const passwords = "migdb_passwords"

// groupOf names the inventory's group of each state.
var groupOf = map[string]string{ //nolint:gochecknoglobals // a table
	todo: "migdb_units", started: "migdb_process", done: "migdb_done", failed: "migdb_fail", stranded: "migdb_tmp",
}

// Inventory is the fleet for Ansible, in YAML: a group per state and one per fleet of balena. Passwords are not in it, only
// where they are found. The same units give the same bytes.
func Inventory(f *Fleet) ([]byte, error) {
	groups := map[string]*group{}
	for _, u := range sorted(f.Units) {
		into(groups, groupOf[u.State]).hosts.set(u.ID, u.variables())
		g := into(groups, fleetGroup(u.App))
		g.hosts.set(u.ID, object())
		if g.vars.Content == nil {
			g.vars.set("balena_migrate_fleet", text(u.App))
		} else if g.vars.Content[1].Value != u.App {
			return nil, fmt.Errorf("%s: found MIG_APP %q, whose group is also that of %q, expected different names", u.File, u.App, g.vars.Content[1].Value)
		}
	}
	children := object()
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := object()
		g.set("hosts", groups[name].hosts)
		if groups[name].vars.Content != nil {
			g.set("vars", groups[name].vars)
		}
		children.set(name, g)
	}
	all, top := object(), object()
	all.set("children", children)
	top.set("all", all)
	return encode(top, "# Made by balena-migrate fleet import. Passwords are in the secrets file: ansible-playbook -e @FILE\n")
}

// Secrets are the passwords, as a file of variables for ansible-vault; nil when there are none.
func Secrets(f *Fleet) ([]byte, error) {
	list := object()
	for _, u := range sorted(f.Units) {
		if u.password != "" {
			list.set(u.ID, text(u.password))
		}
	}
	if list.Content == nil {
		return nil, nil
	}
	top := object()
	top.set(passwords, list)
	return encode(top, "# Made by balena-migrate fleet import. Encrypt it: ansible-vault encrypt FILE\n")
}

// WithPassword lists where passwords were found, by file and line.
func (f *Fleet) WithPassword() []string {
	var out []string
	for _, u := range f.Units {
		if u.password != "" {
			out = append(out, u.passwordFrom)
		}
	}
	return out
}

// variables are a host's own. What has no counterpart keeps a name of migdb's, so that nothing is lost.
func (u *Unit) variables() node {
	v := object()
	add := func(name, value string) {
		if value != "" {
			v.set(name, text(value))
		}
	}
	add("ansible_host", u.Host)
	add("ansible_user", u.User)
	if u.Port != 0 {
		v.set("ansible_port", node{&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(u.Port)}})
	}
	add("ansible_ssh_common_args", u.Options)
	if u.password != "" {
		v.set("ansible_password", node{&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "{{ " + passwords + "[inventory_hostname] }}"}})
	}
	if u.Version != "" {
		image, options := object(), object()
		image.set("version", text(u.Version))
		options.set("image", image)
		v.set("balena_migrate_options", options)
	}
	add("migdb_cfg_archive", u.Archive)
	add("migdb_cfg_dir", u.Dir)
	add("migdb_device_id", u.DeviceID)
	add("migdb_fail_msg", u.FailMessage)
	return v
}

// group is a group that is being filled.
type group struct{ hosts, vars node }

func into(groups map[string]*group, name string) *group {
	if groups[name] == nil {
		groups[name] = &group{object(), object()}
	}
	return groups[name]
}

// notInGroups is what the name of a group can't have (Ansible, TRANSFORM_INVALID_GROUP_CHARS).
var notInGroups = regexp.MustCompile(`[^A-Za-z0-9_]`)

func fleetGroup(app string) string {
	return "fleet_" + notInGroups.ReplaceAllString(strings.ToLower(app), "_")
}

func sorted(units []*Unit) []*Unit {
	return slices.SortedFunc(slices.Values(units), func(a, b *Unit) int { return strings.Compare(a.ID, b.ID) })
}

// node is a piece of YAML.
type node struct{ *yaml.Node }

func object() node { return node{&yaml.Node{Kind: yaml.MappingNode}} }

func (n node) set(name string, value node) {
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, value.Node)
}

// text is a value that Ansible takes as it is: one that looks like a template must not be one.
func text(s string) node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.Contains(s, "{{") || strings.Contains(s, "{%") || strings.Contains(s, "{#") {
		n.Tag, n.Style = "!unsafe", yaml.TaggedStyle|yaml.DoubleQuotedStyle
	}
	return node{n}
}

func encode(n node, comment string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("---\n" + comment)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(n.Node); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}
