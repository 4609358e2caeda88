"""What runs on, and is given to, OpenNebula: templates, OneGate, and the stages of the appliance."""
