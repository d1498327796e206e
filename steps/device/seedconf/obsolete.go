package seedconf

// obsolete are the variables that mean nothing any more, with the reason.
func obsolete() map[string]string {
	const (
		state     = "the state of a unit of migdb; a device tells its own: balena-migrate status"
		fleet     = "migdb's; fleets are Ansible's: see ansible/roles/migrate/README.md"
		inventory = "migdb's; hosts are in the inventory: "
	)
	return map[string]string{
		"LOG_DEBUG":          "logs are complete without it",
		"DEBUG_FUNCTS":       "logs are complete without it",
		"MK_INITRAM_VERBOSE": "mkinitramfs is not used",
		"MK_INITRAM_RETAIN":  "mkinitramfs is not used",
		"BACKUP_DIRECTORIES": "it was read by nobody; name them in a backup definition",
		"MIG_SSH_HOST":       inventory + "ansible_host",
		"MIG_SSH_USER":       inventory + "ansible_user",
		"MIG_SSH_PORT":       inventory + "ansible_port",
		"MIG_SSH_OPTS":       inventory + "ansible_ssh_common_args",
		"MIG_DEF_SSH_OPTS":   inventory + "ansible_ssh_common_args",
		"MIG_SSH_PASSWD":     inventory + "ansible_password, in a vault; remove it from this file",
		"MIG_APP":            "migdb's; a device joins the fleet of its config.json",
		"MIG_CFG_ARCHIVE":    fleet,
		"MIG_CFG_DIR":        fleet,
		"MIG_CFG":            fleet,
		"MIG_DB_DIR":         fleet,
		"MIG_DURATION":       fleet,
		"MIG_LOG_TO":         fleet,
		"MIG_MAX_STATUS_AGE": fleet,
		"MIG_MIN_AGE":        fleet,
		"MIG_CONN_ATTEMPTS":  fleet,
		"MIG_RECONN_TIME":    fleet,
		"MIG_EXEC_TIMEOUT":   fleet,
		"MIG_TX_TIMEOUT":     fleet,
		"MIG_LOG_FILE":       fleet,
		"MIG_BALENA_TOKEN":   "migdb's; keep it in a vault, and remove it from this file",
		"UNIT_ID":            inventory + "the host's name",
		"STATUS":             state,
		"STATUS_TS":          state,
		"CREATE_TS":          state,
		"CREATE_ISOTS":       state,
		"DUE_TS":             state,
		"UNIT_OUTPUT_LOG":    state,
		"TRANSFER_FAIL_MSG":  state,
		"MIG_CONN_RETRIES":   state,
		"DEVICE_ID":          "a device's uuid is that of its config.json",
		"MIGRATED_ISOTS":     state,
		"DONE_ISOTS":         state,
		"FAIL_TS":            state,
		"FAIL_MSG":           state,
	}
}
