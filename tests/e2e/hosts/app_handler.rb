# frozen_string_literal: true

# What the marketplace's tests ask of a VM, asked of a host of the lab: its PID 1 is in HOST_INIT.
require 'open3'

Result = Struct.new(:stdout, :stderr, :status) do
    def success?
        status.success?
    end

    def expect_success
        raise "code #{status.exitstatus}: #{stdout}#{stderr}" unless status.success?
    end

    def expect_fail
        raise "it succeeded: #{stdout}" if status.success?
    end
end

# A host in place of a VM; as over SSH a shell runs the command.
class Host
    def ssh(command)
        Result.new(*Open3.capture3('nsenter', '--target', ENV.fetch('HOST_INIT'), '--all', '--', 'sh', '-c', command))
    end
end

RSpec.shared_context('vm_handler') do
    before(:all) { @info = { :vm => Host.new } }
end
