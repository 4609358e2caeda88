"""The model, the data, training and testing: what a PyTorch user brings."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, random_split


class Net(nn.Module):
    """A convolution and two dense layers for images of 8 x 8."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(4 * 3 * 3, 16)
        self.fc2 = nn.Linear(16, 3)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


class Stripes(Dataset):
    """Noisy images with one bright row; the label says which."""

    def __init__(self, count, seed):
        rng = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 3, (count,), generator=rng)
        self.images = 0.5 * torch.rand(count, 1, 8, 8, generator=rng)
        self.images[torch.arange(count), 0, 2 * self.labels + 1] += 1.0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"img": self.images[index], "label": self.labels[index]}


def load_data(partition_id, num_partitions, batch_size):
    """Give the loaders of this client's share."""
    everything = Stripes(480, seed=0)
    share = Subset(everything, range(partition_id, len(everything), num_partitions))
    sizes = [len(share) - len(share) // 5, len(share) // 5]
    training, testing = random_split(share, sizes, generator=torch.Generator().manual_seed(42))
    trainloader = DataLoader(training, batch_size=batch_size, shuffle=True)
    testloader = DataLoader(testing, batch_size=batch_size)
    return trainloader, testloader


def load_centralized_dataset():
    """Give the loader of the server's test images."""
    return DataLoader(Stripes(150, seed=1), batch_size=128)


def train(net, trainloader, epochs, lr, device):
    """Train, and give the mean loss."""
    net.to(device)
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    net.train()
    running_loss = 0.0
    for _ in range(epochs):
        for batch in trainloader:
            images, labels = batch["img"].to(device), batch["label"].to(device)
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
    return running_loss / (epochs * len(trainloader))


def test(net, testloader, device):
    """Give loss and accuracy."""
    net.to(device)
    criterion = nn.CrossEntropyLoss()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for batch in testloader:
            images, labels = batch["img"].to(device), batch["label"].to(device)
            outputs = net(images)
            loss += criterion(outputs, labels).item()
            correct += (outputs.argmax(1) == labels).sum().item()
    return loss / len(testloader), correct / len(testloader.dataset)
