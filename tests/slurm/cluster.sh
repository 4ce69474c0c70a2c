#!/usr/bin/env bash
# A real SLURM cluster on one machine, for integration tests. Run as root; needs no systemd.
#
#   cluster.sh install          apt-get the Debian packages
#   cluster.sh able             whether there can be a cluster here: installs what is missing, else says why not, exit 1
#   cluster.sh up     [STATE]   start (idempotent); returns once sinfo shows every node idle
#   cluster.sh down   [STATE]   end every job and daemon of this cluster
#   cluster.sh status [STATE]   daemons, nodes, queue; exit 1 if anything is not running
#   cluster.sh env    [STATE]   print the exports a client needs:  eval "$(cluster.sh env)"
#   cluster.sh node   [STATE] NAME start|stop|kill   one virtual node; kill = power cut, its jobs die too
#   cluster.sh ctld   [STATE] start|stop|kill        drive slurmctld (restart tests)
#
# STATE (or $SLURM_LAB) holds everything: config, keys, database, spool, logs, pids. `rm -rf` it after
# `down` for a clean slate. Knobs: SLURM_LAB_NODES=4 _CPUS=8 _GPUS=2 (per node) _MEM_MB=8192 _PORT=16800
# _A100=1 (nodes with that type, the others have a10) _MAX_ARRAY=1001 (elements of an array) _ENFORCE=limits (of associations and QOS) _PREEMPT=preempt_send_user_signal (empty: no warning)
set -euo pipefail

die() { echo "cluster.sh: $*" >&2; exit 1; }
cmd=${1:-}; shift || true
case "${1:-}" in /*|./*) S=$1; shift;; *) S=${SLURM_LAB:-/tmp/isorate-slurm};; esac
S=$(realpath -m "$S")   # keep it short: unix socket paths end at 107 characters
NODES=${SLURM_LAB_NODES:-4} CPUS=${SLURM_LAB_CPUS:-8} GPUS=${SLURM_LAB_GPUS:-2}
MEM=${SLURM_LAB_MEM_MB:-8192} PORT=${SLURM_LAB_PORT:-16800}
A100=${SLURM_LAB_A100:-$((NODES > 3))} MAX_ARRAY=${SLURM_LAB_MAX_ARRAY:-1001} ENFORCE=${SLURM_LAB_ENFORCE-} PREEMPT=${SLURM_LAB_PREEMPT-preempt_send_user_signal}
GRACE=$([ -n "$PREEMPT" ] && echo 5 || echo 0)
export SLURM_CONF=$S/slurm.conf MYSQL_UNIX_PORT=$S/db.sock   # libmariadb reads the socket path from here
nodes() { seq -f 'n%g' 1 "$NODES"; }
# the last nodes of the cluster have another type of GPU than the first
gpu_type() { [ "$1" -le $((NODES - A100)) ] && echo a10 || echo a100; }

write_config() {
    local host g gres
    host=$(hostname -s)
    mkdir -p "$S"/{log,run,spool,ctld,munge,dev}; chmod 755 "$S" "$S"/*/
    # fake GPUs: copies of /dev/null. Without mknod (some containers) only a count: CUDA_VISIBLE_DEVICES stays unset
    gres="File=$S/dev/nvidia[0-$((GPUS - 1))]"
    for ((g = 0; g < GPUS; g++)); do
        [ -c "$S/dev/nvidia$g" ] || mknod "$S/dev/nvidia$g" c 1 3 2>/dev/null || gres="Count=$GPUS"; done
    [ -s "$S/munge/key" ] || { head -c 1024 /dev/urandom >"$S/munge/key"; chmod 400 "$S/munge/key"; }

    cat >"$S/slurm.conf" <<CONF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job is held before it may restart (default 120 s)
AuthInfo=socket=$S/munge/socket,cred_expire=5
StateSaveLocation=$S/ctld
SlurmdSpoolDir=$S/spool/%n
SlurmctldPidFile=$S/run/slurmctld.pid
SlurmdPidFile=$S/run/%n.pid
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdLogFile=$S/log/%n.log
${PREEMPT:+SlurmctldParameters=$PREEMPT}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
# short clocks: a test should not wait for production timeouts
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=10
KillWait=5
BatchStartTimeout=10
MinJobAge=300
# scheduling
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,bf_continue
DependencyParameters=kill_invalid_depend
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=$MAX_ARRAY
MaxJobCount=20000
DefMemPerCPU=256
GresTypes=gpu
# accounting
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$S/munge/socket
AccountingStorageTRES=gres/gpu
${ENFORCE:+AccountingStorageEnforce=$ENFORCE}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
$(for ((g = 1; g <= NODES; g++)); do
echo "NodeName=n$g NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 10 + g)) CPUs=$CPUS RealMemory=$MEM Gres=gpu:$(gpu_type $g):$GPUS Feature=$(gpu_type $g) State=UNKNOWN"; done)
PartitionName=gpu Nodes=ALL Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=1-0 State=UP
PartitionName=preempt Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=$GRACE MaxTime=1-0 State=UP
CONF
    for ((g = 1; g <= NODES; g++)); do echo "NodeName=n$g Name=gpu Type=$(gpu_type $g) $gres"; done >"$S/gres.conf"
    cat >"$S/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$S/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
CommunicationParameters=NoInAddrAny
LogFile=$S/log/slurmdbd.log
PidFile=$S/run/slurmdbd.pid
CONF
    chmod 600 "$S/slurmdbd.conf"
}

alive() { local p; p=$(cat "$S/run/$1.pid" 2>/dev/null) && [ -n "$p" ] && kill -0 "$p" 2>/dev/null &&
          tr '\0' ' ' <"/proc/$p/cmdline" | grep -qE 'munged|mariadbd|slurm'; }
# start NAME LOG 'ready test' COMMAND... : start unless alive, then wait (20 s) until the test passes
start() {
    local name=$1 log=$2 ready=$3 i; shift 3
    alive "$name" || { rm -f "$S/run/$name.pid"; setsid "$@" >>"$S/log/$name.out" 2>&1 </dev/null & }
    for ((i = SECONDS + 20; SECONDS < i; )); do alive "$name" && eval "timeout 5 $ready" >/dev/null 2>&1 && return; sleep 0.1; done
    tail -n 15 "$S/log/$name.out" "$log" >&2 2>/dev/null || true
    die "$name did not become ready in 20 s (see $S/log)"
}
stop() {  # stop SIGNAL NAME... : signal all of them, then wait (10 s) until each has really gone
    local sig=$1 n p i pids=(); shift
    for n in "$@"; do alive "$n" && pids+=("$(cat "$S/run/$n.pid")"); rm -f "$S/run/$n.pid"; done
    [ ${#pids[@]} -gt 0 ] || return 0
    kill "-$sig" "${pids[@]}" 2>/dev/null || true
    for p in "${pids[@]}"; do
        for ((i = 0; i < 100; i++)); do [ -n "$(tr -d '\0' 2>/dev/null <"/proc/$p/cmdline")" ] || continue 2; sleep 0.1; done
        echo "pid $p ignored $sig; killing it" >&2; kill -KILL "$p" 2>/dev/null || true
    done
}
start_node() { mkdir -p "$S/spool/$1"; start "$1" "$S/log/$1.log" true slurmd -N "$1" -f "$SLURM_CONF"; }
start_ctld() { start slurmctld "$S/log/slurmctld.log" "scontrol ping" slurmctld -f "$SLURM_CONF"; }

# a real node failure takes the jobs' processes with it; killing slurmd alone leaves them running
kill_node() {
    local job p
    stop KILL "$1"
    for job in $(ls "$S/spool/$1" 2>/dev/null | sed -nE "s/^$1_([0-9]+)\..*/\1/p" | sort -u); do
        for p in $(pgrep -f "^slurmstepd: \[$job\.") $(grep -slaE "SLURM_JOB_ID=$job\b" /proc/[0-9]*/environ | grep -o '[0-9]*'); do
            cat "/proc/$p/environ" 2>/dev/null | tr '\0' '\n' | grep -qxF "SLURM_CONF=$SLURM_CONF" && kill -KILL "$p" 2>/dev/null; done; done
    rm -f "$S/spool/$1/$1_"*
}

missing() {
    local b found=()
    for b in munged mariadbd slurmdbd slurmctld slurmd sbatch sacct; do
        PATH=$PATH:/usr/sbin command -v $b >/dev/null || found+=("$b"); done
    echo "${found[*]}"
}

install() {
    apt() { apt-get -qy -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -o Acquire::http::Timeout=30 "$@"; }
    apt update && apt install --no-install-recommends slurmctld slurmd slurm-client slurmdbd \
        slurm-wlm-basic-plugins munge mariadb-server procps
}

able() {
    local absent
    [ "$(id -u)" = 0 ] || { echo "SLURM's daemons need root"; return 1; }
    absent=$(missing); [ -n "$absent" ] || return 0
    command -v apt-get >/dev/null || { echo "there is no $absent, and no apt-get to install it"; return 1; }
    echo "installing Debian's SLURM packages ($absent missing)" >&2
    timeout 900 bash "$0" install >&2 && absent=$(missing) && [ -z "$absent" ] ||
        { echo "there is no $absent, and apt-get could not install it"; return 1; }
}

up() {
    [ "$(id -u)" = 0 ] || die "run as root"
    local i n absent
    absent=$(missing); [ -z "$absent" ] || die "$absent missing: run '$0 install'"
    write_config
    start munged "$S/log/munged.log" "munge -n -S $S/munge/socket" \
        munged --socket="$S/munge/socket" --key-file="$S/munge/key" --pid-file="$S/run/munged.pid" \
               --log-file="$S/log/munged.log" --seed-file="$S/munge/seed" --force
    [ -d "$S/db/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$S/db" --skip-test-db \
        --auth-root-authentication-method=socket --auth-root-socket-user=root >"$S/log/db-install.out" 2>&1 ||
        die "mariadb-install-db failed: $S/log/db-install.out"
    start mariadbd "$S/log/mariadbd.out" "mariadb --no-defaults -uroot -S $S/db.sock -e 'select 1'" \
        mariadbd --no-defaults --user=root --datadir="$S/db" --socket="$S/db.sock" --skip-networking \
                 --pid-file="$S/run/mariadbd.pid" --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0
    # slurmdbd only reads slurmdbd.conf beside $SLURM_CONF
    start slurmdbd "$S/log/slurmdbd.log" "sacctmgr -n list cluster" slurmdbd
    sacctmgr -n list cluster format=cluster%20 | grep -qw lab || sacctmgr -i add cluster lab >/dev/null
    start_ctld
    for n in $(nodes); do start_node "$n"; done
    scontrol update nodename="n[1-$NODES]" state=resume >/dev/null 2>&1 || true   # clear an old DOWN/DRAIN
    for ((i = 0; i < 300; i++)); do
        [ "$(sinfo -hN -p gpu -o %t 2>/dev/null | grep -cE '^(idle|mix|alloc)$')" = "$NODES" ] && break; sleep 0.1; done
    sinfo -o '%P %a %l %D %t %N %G %c %m'
    [ "$i" -lt 300 ] || die "some node is not idle after 30 s (see $S/log/n*.log)"
    echo "ready: eval \"\$($0 env $S)\""
}

down() {
    local p n ids
    alive slurmctld && { ids=$(timeout 5 squeue -h -o %A 2>/dev/null | sort -u) || true
        [ -z "$ids" ] || timeout 10 scancel $ids || true
        for n in $(seq 50); do [ -z "$(timeout 2 squeue -h 2>/dev/null)" ] && break; sleep 0.1; done; }
    stop TERM slurmctld $(cd "$S/run" 2>/dev/null && ls n*.pid 2>/dev/null | sed 's/\.pid//')
    stop TERM slurmdbd; stop TERM mariadbd munged
    # whatever a killed node left behind: slurmstepds and job processes carry this cluster's SLURM_CONF
    for p in $(grep -slaF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ | grep -o "[0-9]*"); do
        cat "/proc/$p/environ" 2>/dev/null | tr "\0" "\n" | grep -q '^SLURM_JOB_ID=' || grep -qa '^slurmstepd' "/proc/$p/cmdline" 2>/dev/null || continue
        [ "$p" = $$ ] || kill -KILL "$p" 2>/dev/null || true; done
    echo "down"
}

status() {
    local rc=0 d
    for d in munged mariadbd slurmdbd slurmctld $(nodes); do
        if alive "$d"; then echo "$d up ($(cat "$S/run/$d.pid"))"; else echo "$d DOWN"; rc=1; fi; done
    alive slurmctld && { sinfo -N -o '%N %P %t %G %E'; squeue; }
    return $rc
}

case "$cmd" in
    install) export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1   # at runlevel 1 no package starts its daemon
             install ;;
    able) able ;;
    up) up ;; down) down ;; status) status ;;
    env) echo "export SLURM_CONF=$SLURM_CONF" ;;
    node) case "$2" in start) start_node "$1";; stop) stop TERM "$1";; kill) kill_node "$1";; *) die "node NAME start|stop|kill";; esac ;;
    ctld) case "$1" in start) start_ctld;; stop) stop TERM slurmctld;; kill) stop KILL slurmctld;; *) die "ctld start|stop|kill";; esac ;;
    *) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
