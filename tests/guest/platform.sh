# What somebody types on a fresh machine, from `ground up` to nothing left; run inside the guest.
set -eu

# The guest has no network device: a cable that ends in the machine itself gives the node an address.
ip link add uplink type veth peer name nowhere
ip link set uplink up
ip link set nowhere up
ip addr add 10.1.0.1/24 dev uplink
export GROUND_NODE_IP=10.1.0.1

ground up
ground image from-host --name box busybox
ground run --rm --memory 48m box busybox cat /sys/fs/cgroup/memory.max | grep -x $((48 << 20))

ground kube apply -f - <<END
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: box
    imagePullPolicy: Never
    command: [busybox, sleep, "1000"]
    resources: {limits: {memory: 32Mi, cpu: 500m}}
END
ground kube wait --for=condition=Ready --timeout=120s pod/one
ground kube exec one -- busybox cat /proc/self/cgroup | grep -x 0::/
ground kube exec one -- busybox cat /sys/fs/cgroup/memory.max | grep -x $((32 << 20))
ground kube exec one -- busybox cat /sys/fs/cgroup/cpu.max | grep -x '50000 100000'
ground kube delete pod one

ground down --purge
test -z "$(find /sys/fs/cgroup -mindepth 1 -type d)"
