"""The playbooks, one YAML file each; `models.playbooks` reads and checks them."""
