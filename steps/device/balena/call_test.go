package balena

import "testing"

// Whatever a server answers: no panic, and nothing is taken for a row or a registration that is none.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"d":[{"id":7,"api_heartbeat_state":"online","os_version":"balenaOS 6.1.24","provisioning_progress":40}]}`))
	f.Add([]byte(`{"id":7,"uuid":"0123456789abcdef0123456789abcdef","api_key":"k"}`))
	f.Add([]byte(`"\"uuid\" must be unique."`))
	f.Add([]byte(`{"D":[{}],"d":[1e999,null,[]]}`))
	f.Add([]byte(`{"d":[{"id":1.5,"provisioning_progress":-3,"is_online":"true"}]} x`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if rows, err := parseRows(body); err == nil {
			for _, row := range rows {
				if d := deviceOf(row); d.Progress < -1 || d.Progress > 100 || len(d.OSVersion) > 3*maxWord {
					t.Errorf("%+v", d)
				}
			}
		}
		const uuid = "0123456789abcdef0123456789abcdef"
		if id, key, err := parseRegistered(body, uuid); err == nil && (id <= 0 || key == "") {
			t.Errorf("id %d", id)
		}
		_ = word(reply{body: body})
	})
}
